"""One ModelStreamInfer call that does not lose a server's reason for refusing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc

from .grpc_channel import is_reason_lost

TRIES = 5
# How long a server that refuses calls before it reads from them has time to do so.
LISTEN_S = 1.0


class StreamCall:
    """As grpc.aio's call, to write and to iterate; of the latter one at a time.

    A server that refuses a call may do so while the first request is being written; grpc.aio then
    forgets why. That request did not arrive: it is written to another call, which is given time
    to be refused before.
    """

    def __init__(self, open_call: Callable[[], Any], *, careful: bool = False) -> None:
        """
        Args:
            open_call: opens one of grpc.aio's calls.
            careful: give the server time to refuse the call before the first request, and before
                the second one, unless it has answered by then.
        """
        self._open = open_call
        self._call = open_call()
        self._careful = careful
        self._written = 0
        self._given_up = False
        self._answered = asyncio.Event()
        # Whether the first request arrived, or there is no other call to send it on.
        self._settled = asyncio.Event()

    async def write(self, request: Any) -> None:
        """Send a request. Raises what grpc.aio's write raises."""
        if not self._written:
            await self._write_first(request)
        else:
            if self._careful and self._written == 1:
                await self._listen()
            await self._call.write(request)
        self._written += 1

    async def done_writing(self) -> None:
        await self._call.done_writing()

    def cancel(self) -> None:
        self._given_up = True
        self._call.cancel()

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        while True:
            call = self._call
            try:
                async for message in call:
                    self._answered.set()
                    yield message
                return
            except grpc.aio.AioRpcError as error:
                if not is_reason_lost(error):
                    raise
                await self._settled.wait()
                if call is self._call:
                    raise

    async def _write_first(self, request: Any) -> None:
        try:
            for left in reversed(range(TRIES)):
                if self._careful:
                    await self._listen()
                try:
                    await self._call.write(request)
                    return
                except grpc.aio.AioRpcError as error:
                    if not left or self._given_up or not is_reason_lost(error):
                        raise
                self._careful = True
                self._call = self._open()
        finally:
            self._settled.set()

    async def _listen(self) -> None:
        """Wait a moment for the call's end, or for its first answer."""
        events = [
            asyncio.ensure_future(self._call.code()),
            asyncio.ensure_future(self._answered.wait()),
        ]
        try:
            await asyncio.wait(events, timeout=LISTEN_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for event in events:
                event.cancel()
