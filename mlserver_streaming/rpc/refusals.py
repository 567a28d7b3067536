"""Let a refused client hear it: grpc.aio loses a status that comes while its client writes.

What it sends is thrown away until it pauses: for so long at most, and for so many streams at a
time, since each message is held until it is whole. The others wait their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

REFUSAL_SECONDS = 1.0
PAUSE_SECONDS = 0.05
REFUSALS_AT_ONCE = 4


class Refusals:
    """The refused streams of one server."""

    def __init__(self) -> None:
        self._reading = asyncio.Semaphore(REFUSALS_AT_ONCE)

    async def hear_out(self, messages: AsyncIterator[bytes]) -> None:
        """Read on until the client pauses or has said everything. Then say no."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REFUSAL_SECONDS), self._reading:
                await _until_pause(messages)


async def _until_pause(messages: AsyncIterator[bytes]) -> None:
    """Read on until the first message is here and nothing follows it at once."""
    message = await anext(messages, None)
    while message is not None:
        async with asyncio.timeout(PAUSE_SECONDS):
            message = await anext(messages, None)
