"""Let a refused client hear it: grpc.aio loses a status that comes while its client writes.

What it sends is thrown away until it pauses: for so long at most, and for so many streams at a
time, since gRPC's own server holds each message until it is whole. So many others wait their turn;
past them a client hears what gRPC lets it hear.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

REFUSAL_SECONDS = 1.0
PAUSE_SECONDS = 0.05
REFUSALS_AT_ONCE = 4
WAITING = 100


class Refusals:
    """The refused streams of one server."""

    def __init__(self) -> None:
        self._reading = asyncio.Semaphore(REFUSALS_AT_ONCE)
        self._heard = 0

    async def hear_out(self, messages: AsyncIterator[bytes], context: Any) -> None:
        """Read on until the client pauses or has said everything. Then say no."""
        if self._heard >= REFUSALS_AT_ONCE + WAITING:
            return
        self._heard += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFUSAL_SECONDS), self._reading:
                    # Our own server's need not be whole, so that they take nobody's room.
                    await _until_pause(getattr(context, "thrown_away", messages))
        finally:
            self._heard -= 1


async def _until_pause(messages: AsyncIterator[bytes]) -> None:
    """Read on until the first message, or a piece of it, is here and nothing follows it at once."""
    message = await anext(messages, None)
    while message is not None:
        async with asyncio.timeout(PAUSE_SECONDS):
            message = await anext(messages, None)
