"""One stream of ours as streams of the upstream: it outlives them, and knows who still waits."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc

from mlserver_streaming.models.errors import MLServerError

from .channel import BAD_GATEWAY, UpstreamChannel, is_reason_lost
from .wire import Dialect, Reply, decode_stream_reply, dialect_of

# Requests that wait for their first reply; past it no more are read, which stops our client.
MAX_WAITING = 64
# Replies that wait for our client; past it the upstream is not read, which stops it.
MAX_REPLIES = 8
# Streams that are opened for a request which did not reach the upstream, and how long one that
# refuses streams before it reads from them has time to do so.
TRIES = 5
LISTEN_S = 1.0

Answer = Reply | MLServerError


@dataclass(slots=True)
class Waiting:
    """A request that the upstream has not yet replied to."""

    id: str
    deadline: float
    timeout: float


class UpstreamStream:
    """Sends requests on and gives their replies, in the order in which the upstream replies.

    When the upstream's stream breaks, the requests that wait fail, each with its own answer; the
    next request opens another stream.
    """

    def __init__(self, channel: UpstreamChannel, model: str, dialect: Dialect):
        self._channel = channel
        self._model = model
        self._asked = dialect
        self._found: Dialect | None = None
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: list[Waiting] = []
        # Being written, as the first of its stream: it goes to another one if it does not arrive.
        self._first: Waiting | None = None
        self._given_up: set[str] = set()
        self._slots = asyncio.Semaphore(MAX_WAITING)
        self._answers: deque[tuple[str, Answer]] = deque()
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._closing = False

    @property
    def speaks_triton(self) -> bool:
        """Whether the upstream is known to speak Triton's dialect."""
        return Dialect.TRITON in (self._asked, self._found)

    async def send(self, request_id: str, seconds: float, message: bytes) -> None:
        """Send a request on; its reply, or why there is none in time, comes from `answers`."""
        await self._slots.acquire()
        now = asyncio.get_running_loop().time()
        waiting = Waiting(request_id, now + seconds, seconds)
        self._waiting.append(waiting)
        self._changed.set()
        if self._call is None:
            await self._send_first(waiting, message)
        else:
            with _over_is_told():
                await self._call.write(message)

    async def _send_first(self, waiting: Waiting, message: bytes) -> None:
        """Send a request on a new stream. An upstream may refuse one while the first request is
        being written; grpc.aio loses its reason then, so another is opened, and listened to."""
        for left in reversed(range(TRIES)):
            call = self._call = self._channel.stream()
            reader = self._reader = asyncio.create_task(self._read(call))
            self._first = waiting if left else None
            if left < TRIES - 1:
                await asyncio.wait({reader}, timeout=LISTEN_S)
            try:
                with _over_is_told(but_lost=True):
                    await call.write(message)
                return
            except grpc.aio.AioRpcError:
                await asyncio.wait({reader})
            finally:
                self._first = None
            if waiting not in self._waiting:
                return

    async def refuse(self, request_id: str, error: MLServerError) -> None:
        """Answer a request that is not sent on."""
        await self._put(request_id, error)

    async def end(self) -> None:
        """No more requests will come."""
        if self._call is not None:
            with _over_is_told():
                await self._call.done_writing()

    async def answers(
        self, sending: "asyncio.Task[Any]"
    ) -> AsyncGenerator[tuple[str, Answer], None]:
        """The replies with the ids of their requests, until `sending` is done and all is said."""
        sending.add_done_callback(lambda _: self._changed.set())
        while True:
            while self._answers:
                answer = self._answers.popleft()
                self._drained.set()
                yield answer
            for late in self._overdue():
                yield (
                    late.id,
                    MLServerError(
                        f"The upstream at {self._channel.address.target} did not answer within "
                        f"{late.timeout:g} s.",
                        504,
                    ),
                )
            # Nothing may be awaited between looking and waiting.
            if self._answers:
                continue
            reading = self._call is not None and (self._waiting or not self._given_up)
            if sending.done() and not reading:
                return
            await self._change()

    async def close(self) -> None:
        """Hang up."""
        self._closing = True
        if self._call is not None:
            self._call.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _change(self) -> None:
        """Wait for an answer, the end of sending or of reading, or a request's deadline."""
        self._changed.clear()
        now = asyncio.get_running_loop().time()
        due = min((each.deadline for each in self._waiting), default=None)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(due - now, 0)):
                await self._changed.wait()

    def _overdue(self) -> list[Waiting]:
        now = asyncio.get_running_loop().time()
        late = [each for each in self._waiting if each.deadline <= now]
        for each in late:
            self._waiting.remove(each)
            self._given_up.add(each.id)
            self._slots.release()
        return late

    async def _read(self, call: Any) -> None:
        failure: MLServerError
        kept: list[Waiting] = []
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                reply = decode_stream_reply(message, self._dialect(message))
                if reply.id not in self._given_up:
                    await self._put(self._answered(reply.id), reply)
            failure = self._channel.failure(EOFError())
        except MLServerError as error:
            failure = error
            call.cancel()
        except grpc.aio.AioRpcError as error:
            failure = self._channel.failure(error)
            if is_reason_lost(error):
                kept = [each for each in self._waiting if each is self._first]
        except asyncio.CancelledError as error:
            # What grpc.aio makes of an upstream that cancels, too.
            if self._closing:
                raise
            failure = self._channel.failure(error)
        self._call = None
        waiting, self._waiting = self._waiting, kept
        for each in waiting:
            if each in kept:
                continue
            self._slots.release()
            self._answers.append((each.id, failure))
        self._changed.set()

    async def _put(self, request_id: str, answer: Answer) -> None:
        while len(self._answers) >= MAX_REPLIES:
            self._drained.clear()
            await self._drained.wait()
        self._answers.append((request_id, answer))
        self._changed.set()

    def _answered(self, request_id: str) -> str:
        """Which request a reply is to. Servers that stamp every reply with the id of the first
        request answer in order, so such a reply also lets the oldest go."""
        for place, each in enumerate(self._waiting):
            if each.id == request_id:
                del self._waiting[place]
                self._slots.release()
                return request_id
        if self._waiting:
            oldest = self._waiting.pop(0)
            self._slots.release()
            return request_id or oldest.id
        return request_id

    def _dialect(self, message: bytes) -> Dialect:
        """The stream's dialect, found at its first reply.

        Raises:
            MLServerError: it is not the one that the settings say.
        """
        if self._found is None:
            self._found = dialect_of(message, self._model)
            if self._asked not in (Dialect.AUTO, self._found):
                raise MLServerError(
                    f"The upstream at {self._channel.address.target} speaks the "
                    f"{self._found.value} dialect, the settings say {self._asked.value}; set "
                    f"dialect to '{self._found.value}'.",
                    BAD_GATEWAY,
                )
        return self._found


@contextmanager
def _over_is_told(but_lost: bool = False) -> Iterator[None]:
    """Let writing to a stream that is over pass: its reader knows why, and tells.

    Args:
        but_lost: raise what says that the reason is lost, and that the message did not arrive.
    """
    try:
        yield
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
        if but_lost and is_reason_lost(error):
            raise
    except asyncio.CancelledError:
        # grpc.aio raises it too, where it was the call that was cancelled.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
