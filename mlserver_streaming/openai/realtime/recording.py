"""Sound on its way from a client to a model, bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from ...audio.samples import Pcm
from .config import Config
from .turns import Turn

# What waits for the model: requests of some seconds at most, and recordings not begun. Past it the
# socket is not read, which stops the client.
AHEAD = 2


class Recording:
    """What one stream of a model hears.

    Attributes:
        config: what the session was set to when it began.
        begun: ms of the session's sound before it.
        samples: how many were sent.
        is_dropped: whether nobody wants to know what is in it any more.
    """

    def __init__(self, config: Config, turn: Turn, begun: float):
        self.config = config
        self.turn = turn
        self.begun = begun
        self.samples = 0
        self.is_dropped = False
        self._pending: deque[Pcm] = deque()
        self._is_over = False
        self._changed = asyncio.Event()

    @property
    def seconds(self) -> float:
        return self.samples / self.config.format.rate

    @property
    def waiting(self) -> int:
        """The requests that the model has not read."""
        return len(self._pending)

    def put(self, samples: Pcm) -> None:
        self.samples += len(samples)
        self._pending.append(samples)
        self._changed.set()

    def end(self) -> None:
        """Nothing follows."""
        self._is_over = True
        self._changed.set()

    def drop(self) -> None:
        """Forget it."""
        self.is_dropped = True
        self._pending.clear()
        self.end()

    async def read(self) -> Pcm | None:
        """What comes next; None where nothing does."""
        while not self._pending:
            if self._is_over:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._pending.popleft()


class Recordings:
    """All of a session's, one after another.

    Attributes:
        open: the one that sound is added to; None where the next sound begins one.
        ms: of sound in all.
    """

    def __init__(self) -> None:
        self.open: Recording | None = None
        self.ms = 0.0
        self._all: deque[Recording] = deque()
        self._is_over = False
        self._changed = asyncio.Event()

    def begin(self, config: Config, turn: Turn) -> Recording:
        self.open = Recording(config, turn, self.ms)
        self._all.append(self.open)
        self._changed.set()
        return self.open

    def put(self, samples: Pcm) -> None:
        """Add sound to the open one."""
        assert self.open is not None
        self.open.put(samples)
        self.ms += 1000 * len(samples) / self.open.config.format.rate

    def end(self, drop: bool = False) -> None:
        """End the open one, if there is one; what it was is heard, unless it is dropped."""
        recording, self.open = self.open, None
        if recording is not None:
            recording.drop() if drop else recording.end()
            self._changed.set()

    def close(self) -> None:
        """No sound comes any more; what was sent is heard."""
        self._is_over = True
        self.end()
        self._changed.set()

    async def room(self) -> None:
        """Wait while the model has enough to do."""
        while len(self._all) + sum(each.waiting for each in self._all) > AHEAD + 1:
            self._changed.clear()
            await self._changed.wait()

    async def each(self) -> AsyncGenerator[Recording, None]:
        """One after another; one is over when the next is asked for."""
        while True:
            while not self._all:
                if self._is_over:
                    return
                self._changed.clear()
                await self._changed.wait()
            recording = self._all[0]
            try:
                yield recording
            finally:
                # Its stream may have ended before its sound did.
                recording.drop()
                self._all.popleft()
                if self.open is recording:
                    self.open = None
                self._changed.set()

    async def read(self, recording: Recording) -> Pcm | None:
        """What comes next of one; None where nothing does."""
        samples = await recording.read()
        self._changed.set()
        return samples
