"""A request that is a stream of its own to its model, beside the others of its connection."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from mlserver.types import InferenceRequest

from ..errors import RequestCancelledError
from .answers import One


class OwnStream:
    """Such a stream, as long as its caller can cancel it.

    A context manager around its work, in the task that does it.

    Attributes:
        run: what it reads, where that outlives the connection: it is ended with it.
    """

    __slots__ = ("_is_cancelled", "_is_over", "_task", "id", "run")

    def __init__(self, request_id: str):
        self.id = request_id
        self.run: Any = None
        self._task: asyncio.Task[None] | None = None
        self._is_cancelled = self._is_over = False

    def cancel(self) -> None:
        """End it, unless it has ended; its work fails with `RequestCancelledError`."""
        if self._is_cancelled or self._is_over:
            return
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()
        if self.run is not None:
            self.run.cancel()

    def end(self) -> None:
        """All is said: nothing is left that could be cancelled."""
        self._is_over = True

    def __enter__(self) -> OwnStream:
        # One that is cancelled before its first step would not run at all, and answer nothing.
        self._task = asyncio.current_task()
        if self._is_cancelled:
            raise RequestCancelledError()
        return self

    def __exit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if not self._is_cancelled or self._task is None:
            return
        # Of two who cancel it, the other goes on: the call is ending.
        if not self._task.uncancel() and isinstance(error, asyncio.CancelledError):
            raise RequestCancelledError() from None


class Met(One):
    """A request that says when its model has read it."""

    __slots__ = ("_met",)

    def __init__(self, request: InferenceRequest, met: asyncio.Event):
        super().__init__(request)
        self._met = met

    async def __anext__(self) -> InferenceRequest:
        request = await super().__anext__()
        self._met.set()
        return request
