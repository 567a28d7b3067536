"""The headers of a response, on every wire: bounded, since they repeat what callers send.

An id may be as long as a message. HTTP clients take some 8 KiB of headers; gRPC's refuse an answer
with more, after the model has run.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import quote

from mlserver.types import InferenceResponse
from mlserver.utils import extract_headers

MAX_HEADER_CHARACTERS = 1024
MAX_HEADERS_CHARACTERS = 4096
# What is fit for a name on every wire, in lower case there.
NAME = re.compile(r"[0-9A-Za-z_.-]+")
# Models use few.
KEPT_NAMES = 256
# Those that say how a message travels are the edges' own. A model that answers with the parameters
# of its request has the request's among them.
OF_THE_WIRE = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "date", "expect"),
        *("host", "keep-alive", "proxy-connection", "server", "te", "trailer"),
        *("transfer-encoding", "upgrade", "user-agent"),
    }
)


PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

Field = tuple[bytes, bytes]
"""A header as HTTP has it: its name in lower case, and its value."""


@lru_cache(KEPT_NAMES)
def is_fit(name: str) -> bool:
    """Whether a model may have a header of this name sent."""
    return NAME.fullmatch(name) is not None and name.lower() not in OF_THE_WIRE


def headers_of(response: InferenceResponse) -> dict[str, str]:
    """The headers among a response's parameters, which they leave. Dropped are long ones, those
    past what all may have together, and those that are no model's to say."""
    found: dict[str, str] = {}
    size = 0
    for name, value in (extract_headers(response) or {}).items():
        if len(name) > MAX_HEADER_CHARACTERS or not is_fit(name):
            continue
        text = str(value)
        length = len(name) + len(text)
        if length <= MAX_HEADER_CHARACTERS and size + length <= MAX_HEADERS_CHARACTERS:
            found[name] = text
            size += length
    return found


def fields_of(headers: Mapping[str, str]) -> list[Field]:
    """Headers as HTTP has them; any text is made fit to be one."""
    return [(name.lower().encode(), printable(text).encode()) for name, text in headers.items()]


def lines_of(fields: Iterable[Field]) -> bytes:
    """Fields as HTTP/1.1 writes them."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def metadata_of(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Headers as gRPC has them: ASCII only, and none of its own or that would hold bytes."""
    return [
        (known, text)
        for name, text in headers.items()
        if (known := _in_metadata(name)) is not None and text.isascii() and text.isprintable()
    ]


@lru_cache(KEPT_NAMES)
def _in_metadata(name: str) -> str | None:
    """A header's name in gRPC; None where it is gRPC's own, or that of bytes."""
    name = name.lower()
    return None if name.startswith("grpc-") or name.endswith("-bin") else name


def printable(text: str) -> str:
    """A text that may stand in a header: as it is where it can."""
    return text if text.isascii() and text.isprintable() else quote(text, PRINTABLE)
