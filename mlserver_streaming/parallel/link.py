"""The service's end of one worker: what was asked of it, and whether it still answers."""

import asyncio
import itertools
import os
import signal
import socket
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from mlserver.parallel.messages import ModelUpdateMessage, ModelUpdateType
from mlserver.settings import ModelSettings

from ..errors import LoadTimeoutError, MLServerError, WorkerLostError
from ..load_failure import LoadError, LoadFailure
from ..settings import WorkerSettings
from . import messages as say
from .channel import Channel
from .exchange import Answer, Exchange
from .heartbeat import Heartbeat
from .session import Description
from .worker import StreamingWorker

# A worker that does not answer a ping for so long is held up by a model, and gets nothing new while
# another one answers. Far above what a healthy one takes, far below what a caller would notice.
UNANSWERED_SECONDS = 0.25
# How often a worker that has something to do is pinged.
PING_SECONDS = 0.1
# From a process's end to the end of what it had said.
LAST_WORDS_SECONDS = 0.2
# How long a process whose socket has ended may take to end too.
END_SECONDS = 1.0
LOOK_SECONDS = 0.01


class Link:
    """One worker.

    Attributes:
        is_ready: whether it has loaded all models, and so may get streams.
        loaded: the models that it has, as it described them, with their settings.
        turn: when it was chosen last, as a number that grows. Not how often: one that has just
            started would get everything until it had as much as the others.
        has_answered: whether it has ever answered a ping.
        is_held_up: whether it was told to the log that it does not answer.
    """

    def __init__(
        self,
        worker: StreamingWorker,
        end: socket.socket,
        beats: Connection,
        settings: WorkerSettings,
        lost: Callable[["Link"], None],
        gone: Callable[["Link", say.ModelKey, list[Any]], None],
    ):
        """
        Args:
            beats: the pipe that the worker beats into.
            lost: called once, when the worker is gone; everything asked of it has failed by then.
            gone: told of sequences that one of its models holds no longer.
        """
        self.worker = worker
        self.is_ready = False
        self.ready_at = 0.0
        self.loaded: dict[say.ModelKey, tuple[ModelSettings, Description]] = {}
        self.turn = 0
        self._on_lost = lost
        self._on_gone = gone
        self._exchanges: dict[int, Exchange] = {}
        self._numbers = itertools.count(1)
        self._untold: dict[int, int] = {}
        self.has_answered = self.is_held_up = False
        self._pinged: float | None = None
        self._ping_due = 0.0
        self._heartbeat = Heartbeat(beats, settings.heartbeat_seconds)
        self._load_seconds = settings.load_seconds
        self._loading: set[int] = set()
        self._channel = Channel(end, self._hear, self._lose, self._unsendable, self._taken)
        self._watch_process()

    @property
    def pid(self) -> int:
        return self.worker.pid or 0

    @property
    def is_lost(self) -> bool:
        return self._channel.is_closed

    @property
    def busy(self) -> int:
        """Streams and calls that it has not ended."""
        return len(self._exchanges)

    def answers(self, now: float) -> bool:
        """Whether it has answered within reason."""
        return self._pinged is None or now - self._pinged < UNANSWERED_SECONDS

    def ping(self, now: float) -> None:
        """Ask it for a sign of life, unless one is due."""
        if self._pinged is None and now >= self._ping_due:
            self._pinged, self._ping_due = now, now + PING_SECONDS
            self._channel.send((say.PING,))

    def has_stopped(self, now: float) -> bool:
        """Whether the process has shown no sign of life for too long. A load that it has begun
        excuses it: that may be minutes of work in C, and has a bound of its own."""
        return self._heartbeat.has_stopped(now, excused=bool(self._loading))

    def begin(self, exchange: Exchange, kind: int, *rest: Any) -> int:
        """Begin an exchange; its number."""
        number = next(self._numbers)
        if self.is_lost:
            exchange.failed(WorkerLostError())
            return number
        self._exchanges[number] = exchange
        self._channel.send((kind, number, *rest))
        self.ping(monotonic())
        return number

    async def ask(self, kind: int, *rest: Any) -> Any:
        """Begin an exchange and wait for its result.

        Raises:
            MLServerError: what the worker says, or that it is lost.
        """
        answer = Answer()
        number = self.begin(answer, kind, *rest)
        try:
            return await answer.future
        except asyncio.CancelledError:
            self.say(say.CANCEL, number)
            raise

    def say(self, kind: int, number: int, *rest: Any) -> None:
        """Go on with an exchange, if it is not over."""
        if number in self._exchanges:
            self._channel.send((kind, number, *rest))

    def took(self, number: int, count: int) -> None:
        """Let a stream know, with what is said next, that its responses were taken."""
        self._untold[number] = self._untold.get(number, 0) + count
        self._channel.flush_soon()

    async def load(self, settings: ModelSettings) -> Description:
        """Load a model, or load it again.

        Raises:
            LoadError: it cannot be loaded.
            LoadTimeoutError: it took too long; where the worker does not even answer, it is ended.
            WorkerLostError
        """
        found: Description | LoadFailure
        try:
            async with asyncio.timeout(self._load_seconds):
                found = await self._update(ModelUpdateType.Load, settings)
        except TimeoutError:
            if not self.answers(monotonic()):
                self.give_up()
            raise LoadTimeoutError(settings.name, self._load_seconds or 0) from None
        if isinstance(found, LoadFailure):
            raise LoadError(found)
        self.loaded[key_of(settings)] = settings, found
        return found

    async def unload(self, settings: ModelSettings) -> None:
        self.loaded.pop(key_of(settings), None)
        await self._update(ModelUpdateType.Unload, settings)

    async def catch_up(self, wanted: Callable[[], Iterable[ModelSettings]]) -> None:
        """Load what is wanted until there is nothing left, though that may change meanwhile.

        Raises:
            MLServerError: the worker could not, or was lost.
        """
        while True:
            models = {key_of(settings): settings for settings in wanted()}
            stale = [settings for key, (settings, _) in self.loaded.items() if key not in models]
            missing = [settings for settings in models.values() if not self.has(settings)]
            if not stale and not missing:
                return
            for settings in stale:
                await self.unload(settings)
            for settings in missing:
                await self.load(settings)

    def has(self, settings: ModelSettings) -> bool:
        """Whether it has loaded a model with just these settings."""
        found = self.loaded.get(key_of(settings))
        return found is not None and found[0] is settings

    def close(self) -> None:
        """Let the worker end."""
        self._channel.close()
        self._heartbeat.close()
        self._forget_process()
        self._fail_all()

    def kill(self) -> None:
        """End the worker, whatever it does."""
        if self.worker.exitcode is None:
            self.worker.kill()

    def give_up(self) -> None:
        """End a worker that does not even hear that it should; what was asked of it fails now."""
        self.kill()
        self._lose()

    async def ended(self, seconds: float = END_SECONDS) -> int:
        """Wait for the process to end, then end it; its exit status, as multiprocessing has it."""
        deadline = monotonic() + seconds
        # Polled: the process may have lent its sentinel to processes of its own.
        while (status := self.worker.exitcode) is None:
            if monotonic() >= deadline:
                self.kill()
            await asyncio.sleep(LOOK_SECONDS)
        return status

    async def _update(self, kind: ModelUpdateType, settings: ModelSettings) -> Any:
        message = ModelUpdateMessage(update_type=kind, model_settings=settings)
        return await self.ask(say.UPDATE, int(kind), message.serialised_model_settings)

    def _hear(self, heard: list[Any]) -> None:
        exchanges = self._exchanges
        for message in heard:
            kind = message[0]
            if kind == say.RESPONSE:
                if (exchange := exchanges.get(message[1])) is not None:
                    exchange.response(message[2])
            elif kind == say.WANT:
                if (exchange := exchanges.get(message[1])) is not None:
                    exchange.want()
            elif kind == say.LAST:
                if (exchange := exchanges.get(message[1])) is not None:
                    exchange.last(message[2])
            elif kind == say.DONE:
                self._loading.discard(message[1])
                if (exchange := exchanges.pop(message[1], None)) is not None:
                    exchange.done(message[2])
            elif kind == say.FAILED:
                self._loading.discard(message[1])
                if (exchange := exchanges.pop(message[1], None)) is not None:
                    exchange.failed(MLServerError(message[2], message[3]))
            elif kind == say.LOADING:
                self._loading.add(message[1])
            elif kind == say.PONG:
                self._pinged, self.is_held_up, self.has_answered = None, False, True
            elif kind == say.GONE:
                self._on_gone(self, message[1], message[2])

    def _taken(self) -> list[Any]:
        if not self._untold:
            return []
        untold, self._untold = self._untold, {}
        open_ones = self._exchanges
        return [(say.TAKEN, *each) for each in untold.items() if each[0] in open_ones]

    def _unsendable(self, message: Any, error: Exception) -> Any:
        """A request that cannot leave this process fails its stream; raised from it, it is logged
        as what went wrong here."""
        kind, number = message[:2]
        exchange = self._exchanges.get(number)
        if exchange is not None:
            failure = MLServerError("The request cannot be given to a worker.", 500)
            failure.__cause__ = error
            exchange.failed(failure)
            del self._exchanges[number]
        return None if kind in (say.OPEN, say.PREDICT) else (say.CANCEL, number)

    def _watch_process(self) -> None:
        """The socket's end tells that the worker is gone; but a process that the worker has
        started may hold that open."""
        self._process: int | None = None
        if hasattr(os, "pidfd_open"):  # Linux
            self._process = os.pidfd_open(self.pid)
            asyncio.get_running_loop().add_reader(self._process, self._process_ended)

    def _process_ended(self) -> None:
        self._forget_process()
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._lose)

    def _forget_process(self) -> None:
        if self._process is not None:
            asyncio.get_running_loop().remove_reader(self._process)
            os.close(self._process)
            self._process = None

    def _lose(self) -> None:
        if self._on_lost is None:
            return
        lost, self._on_lost = self._on_lost, None  # type: ignore[assignment]
        self.close()
        lost(self)

    def _fail_all(self) -> None:
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.failed(WorkerLostError())


def key_of(settings: ModelSettings) -> say.ModelKey:
    return settings.name, settings.version


def told(status: int) -> str:
    """A process's end in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
