"""The headers of a response, on every wire: bounded, since they repeat what callers send.

An id may be as long as a message. HTTP clients take some 8 KiB of headers; gRPC's refuse an answer
with more, after the model has run.
"""

from mlserver.types import InferenceResponse
from mlserver.utils import extract_headers

MAX_HEADER_CHARACTERS = 1024
MAX_HEADERS_CHARACTERS = 4096


def headers_of(response: InferenceResponse) -> dict[str, str]:
    """The headers among a response's parameters, which they leave; long ones are dropped, and
    those past what all may have together."""
    found: dict[str, str] = {}
    size = 0
    for name, value in (extract_headers(response) or {}).items():
        text = str(value)
        length = len(name) + len(text)
        if length <= MAX_HEADER_CHARACTERS and size + length <= MAX_HEADERS_CHARACTERS:
            found[name] = text
            size += length
    return found
