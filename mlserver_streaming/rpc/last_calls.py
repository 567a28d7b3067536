"""The last calls of a server that stops: held for a moment, and refused once GOAWAY is sent.

gRPC cancels what has come and was not handed to Python yet when a server stops, so that a client
sees CANCELLED, as if it had hung up itself (https://github.com/grpc/grpc/issues/41785). Whoever is
refused may call again at once, so there is always something to cancel. Hence nobody is answered for
a moment: clients that wait for their answer send nothing more. Then the server stops, and those
that wait are refused behind the GOAWAY on their connections, which they do not use again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc

# So many looks in a row at which nothing has come: gRPC's events, too, had as many turns.
LOOKS, LOOK_SECONDS = 5, 0.01
# Others than those held keep coming: some of them will be cancelled.
LONGEST_SECONDS = 1.0


class LastCalls:
    """Those that come to one server from now on."""

    def __init__(self) -> None:
        self._held = 0
        self._refused = asyncio.Event()

    async def hold(self) -> None:
        """Wait until a call may have its answer."""
        self._held += 1
        await self._refused.wait()

    async def stop(self, server: grpc.aio.Server, grace_seconds: float) -> None:
        """Stop the server as soon as nobody sends it more; what it has may end in the grace."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_SECONDS):
                    await self._none_comes()
            stopping = asyncio.create_task(server.stop(grace_seconds))
            await asyncio.sleep(0)  # it has begun: GOAWAY is before whatever is written from now on
        finally:
            self._refused.set()
        await stopping

    async def _none_comes(self) -> None:
        looks, seen = 0, self._held
        while looks < LOOKS:
            await asyncio.sleep(LOOK_SECONDS)
            looks, seen = (looks + 1 if self._held == seen else 0), self._held
