"""The messages of one gRPC stream on their way to its wire.

grpc.aio takes one message at a time, and each write ends in another turn of the event loop, by way
of another thread. So messages that are ready together are made together, while the code that makes
them is warm in the processor, and then written one after another; http2/ takes them together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sized
from typing import Any

from ..streams.deadlines import undisturbed
from ..streams.turnstile import Turnstile
from .errors import Together

# What may be ready and not yet written: so many messages, or so many bytes.
READY_MESSAGES, READY_BYTES = 16, 64 * 1024


class Outbox:
    """One model's messages. Those of all models of a stream take turns, `writing` is their lock."""

    def __init__(
        self,
        write: Callable[[Any], Awaitable[None]],
        writing: asyncio.Lock,
        turnstile: Turnstile,
        limit: int,
        together: Together | None = None,
    ):
        """
        Args:
            write: sends a message; returns when the wire took it.
            limit: messages that may be ready; not more than READY_MESSAGES are.
            together: sends several at once, where the wire can.
        """
        self._limit = min(limit, READY_MESSAGES)
        self._write = write
        self._together = together
        self._writing = writing
        self._turnstile = turnstile
        self._messages: list[Sized] = []
        self._bytes = 0
        self._begun = False
        # Up to the second message.
        self._are_few = True

    def put(self, message: Sized) -> bool:
        """Have a message written; whether it is time to: the first waits for no other, and the
        second for no more of its own while calls come in: theirs are first ones."""
        self._messages.append(message)
        self._bytes += len(message)
        is_due = len(self._messages) >= self._limit or self._bytes >= READY_BYTES
        if self._are_few:
            self._are_few = not self._begun
            return is_due or not self._begun or not self._turnstile.is_open()
        return is_due

    async def flush(self) -> None:
        """Write what is ready. A request's `timeout` does not cut a message in two."""
        if not self._messages:
            return
        messages, self._messages, self._bytes = self._messages, [], 0
        async with self._writing:
            with undisturbed():
                together = self._together
                parts: list[Any] = messages if together is None else [messages]
                write = self._write if together is None else together.write
                for each in parts:
                    if not self._begun:
                        self._turnstile.arrived()
                    elif not self._turnstile.is_open():
                        await self._turnstile.turn()
                    self._begun = True
                    await write(each)

    def pause(self) -> Awaitable[None] | None:
        """The same, before a wait for something else: so that one is turn enough for the others."""
        if not self._messages:
            return None
        if (
            self._together is not None
            and not self._writing.locked()
            and (not self._begun or self._turnstile.is_open())
            and self._together.write_at_once(self._messages, self._bytes)
        ):
            self._messages, self._bytes, self._begun = [], 0, True
            return None
        return self.flush()
