"""The stream that the requests of one connection to one model have in common."""

from __future__ import annotations

import asyncio
from typing import Any

from anyio.streams.memory import MemoryObjectSendStream
from mlserver.types import InferenceRequest

from .reading import Reading


class CommonStream:
    """Its requests on their way, and the task that drives the model.

    Attributes:
        model_name: whose it is.
        put: how many requests it was given.
        run: what answers them, where that outlives the connection.
    """

    __slots__ = ("is_cut", "model_name", "put", "reading", "run", "send", "task")

    def __init__(
        self, model_name: str, send: MemoryObjectSendStream[InferenceRequest], reading: Reading
    ):
        self.model_name = model_name
        self.send = send
        self.reading = reading
        self.put = 0
        self.is_cut = False
        self.run: Any = None
        self.task: asyncio.Task[None] | None = None

    def is_over(self) -> bool:
        """Whether it takes no more requests, and has failed or answered all that it had."""
        return not self.send.statistics().open_receive_streams

    def cut(self) -> None:
        """End the model's running stream; requests that wait begin another."""
        if self.task is not None and not self.is_cut:
            self.is_cut = True
            self.task.cancel()
            if self.run is not None:
                self.run.cancel()

    def was_cut(self) -> bool:
        """Whether it is that which cancelled the task, and nothing else."""
        was_cut, self.is_cut = self.is_cut, False
        return was_cut and self.task is not None and not self.task.uncancel()
