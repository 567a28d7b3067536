"""What stands around the JSON of each response: server-sent events, or lines of JSON.

The formats: https://html.spec.whatwg.org/multipage/server-sent-events.html and
https://github.com/ndjson/ndjson-spec
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..streams.headers import lines_of

KEEP_ALIVE = b": keep-alive\n\n"


def raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _headers(content_type: str) -> list[tuple[bytes, bytes]]:
    return raw(
        {
            "Content-Type": content_type,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx: pass each event on at once
        }
    )


@dataclass(frozen=True, slots=True)
class Framing:
    """What stands around the JSON of a response.

    Attributes:
        headers: of the HTTP response.
        event, error: of a response, and of the failure that ends a stream.
        comment: a sign of life.
        lines: the headers as they are written.
        before, after: what stands around the JSON of a response.
    """

    headers: list[tuple[bytes, bytes]]
    event: bytes
    error: bytes
    comment: bytes
    lines: bytes = field(init=False)
    before: bytes = field(init=False)
    after: bytes = field(init=False)

    def __post_init__(self) -> None:
        for name, part in zip(("before", "after"), self.event.split(b"%b"), strict=True):
            object.__setattr__(self, name, part)
        object.__setattr__(self, "lines", lines_of(self.headers))


EVENTS = Framing(
    _headers("text/event-stream; charset=utf-8"),
    b"data: %b\n\n",
    b"event: error\ndata: %b\n\n",
    KEEP_ALIVE,
)
LINES = Framing(_headers("application/x-ndjson"), b"%b\n", b"%b\n", b"\n")
