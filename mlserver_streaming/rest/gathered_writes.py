"""What is written in one turn of the event loop leaves as one TLS record, not one for each event;
and what waits for no turn's end.

uvloop gathers the writes to a plain socket by itself; under TLS it would encrypt each alone, which
makes an event dearer by a fifth.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..access.read_buffer import give_back_pages

# A TLS record holds no more.
RECORD_BYTES = 16 * 1024
# For a client that is slow to read: as much as a plain transport keeps, not TLS's 512 KiB.
WAITING_BYTES = 64 * 1024


def write_now(transport: Any, data: bytes) -> None:
    """Write before the round of the loop ends, where there is no TLS and nothing waits already.

    uvloop gathers all writes of a round, but what is more than a transport may hold back. Of calls
    that come together, all are opened in one: the first would wait for the last.
    """
    if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
        transport.write(data)
        return
    low, high = transport.get_write_buffer_limits()
    transport.set_write_buffer_limits(0)
    transport.write(data)
    transport.set_write_buffer_limits(high, low)


class GatheredWrites:
    """A transport around a TLS transport; whatever is not about writing is the inner one's."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop):
        transport.set_write_buffer_limits(WAITING_BYTES)
        self._transport = transport
        self._loop = loop
        give_back_pages(transport)
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= RECORD_BYTES:
            # Not later: the transport must see what is written to hold a writer back.
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._waiting.clear()
        self._transport.abort()

    def _flush(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
