"""The race that a gRPC server wins which refuses a call while a request is being written."""

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest
from grpc.aio._call import StreamStreamCall


class Lost:
    """Lets writes lose the race against the end of their call, as grpc.aio's own `_write` does.

    Attributes:
        times: how many calls lose; at: at which of their writes.
        calls: those that were written to.
        one: set once a call loses; `ended` is released for each.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times, self.at = 0, 0
        self.calls: list[Any] = []
        self._overwritten: list[Any] = []
        self._written, self.ended = Counter[Any](), threading.Semaphore(0)
        self._write = StreamStreamCall.write
        self.one = asyncio.Event()
        lost = self

        async def write(call: Any, request: Any) -> None:
            await lost.write(call, request)

        monkeypatch.setattr(StreamStreamCall, "write", write)

    async def write(self, call: Any, request: Any) -> None:
        if call not in self.calls:
            self.calls.append(call)
        self._written[call] += 1
        loses = self.calls.index(call) < self.times and self._written[call] == self.at + 1
        if not loses or call.done():
            await self._write(call, request)
            return

        def overwrite(_: Any) -> None:
            # Once: setting a status calls back again.
            if call not in self._overwritten:
                self._overwritten.append(call)
                call._cython_call.set_internal_error("Failed 'execute_batch'")

        call.add_done_callback(overwrite)
        self.ended.release()
        self.one.set()
        await call.code()
        await call._raise_for_status()
