"""The HTTP response that writes a stream of responses, as events or as lines of JSON."""

import asyncio
import sys
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from functools import partial
from time import monotonic
from typing import Any, Protocol

import orjson
from mlserver.logging import logger
from mlserver.types import InferenceResponse
from mlserver.utils import generate_uuid
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ..errors import InternalError, MLServerError, failure_of
from ..streams.pauses import with_pauses
from ..streams.response_bound import ResponseBound
from ..streams.rotation import Rotation
from ..streams.turns import in_turns
from ..tensors.json_codec import StreamEncoder, encode_unless_large
from ..tensors.json_responses import written
from ..tensors.steps import COPIED_BYTES, Steps
from ..watch.statistics import Served
from .cycles import Cycle
from .framing import EVENTS, Framing, raw
from .hang_up import stop_on_hang_up
from .http_protocol import ABORT

GZIP_HEADERS = raw({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
# What a client that does not read gets to take in the reason of its stream's end.
LAST_WORDS_SECONDS = 1.0
# zlib's window and memory level for streams of short events, each of which repeats the one before:
# 12 KiB of memory a stream; and for longer ones: 32 KiB. zlib's usual is 256. The first event tells
# which; the `Ce-*` headers are some 350 bytes of it.
SHORT_GZIP, LONG_GZIP = (10, 2), (12, 5)
SHORT_EVENT_BYTES = 1024
GZIP_FRAME = 16
# Events that are ready together leave together, up to so many bytes: what uvicorn buffers.
READY_BYTES = 64 * 1024


class Answers(Protocol):
    """How responses are written."""

    def encode(self, response: InferenceResponse, /) -> bytes | None:
        """A response as JSON; None where that takes too long."""

    def written(self, response: InferenceResponse, /) -> Steps[Sequence[bytes]]:
        """A response as JSON, in parts."""


class JsonAnswers:
    """Responses as the protocol has them."""

    encode = staticmethod(encode_unless_large)
    written = staticmethod(written)


JSON = JsonAnswers()
UNBOUNDED = ResponseBound(sys.maxsize)


def _event(encode: Any, before: bytes, after: bytes, response: InferenceResponse) -> bytes | None:
    encoded = encode(response)
    return None if encoded is None else before + encoded + after


class EventStreamResponse(Response):
    """Sends a stream of inference responses as events.

    Nothing is sent before the first response exists, or `grace` seconds have passed, so that an
    error that comes first is raised to the app, which makes a real status of it. After that an
    error is an event of its own, and the stream ends properly.
    """

    def __init__(
        self,
        responses: AsyncGenerator[InferenceResponse, None],
        grace: float,
        keepalive: float,
        answers: Answers = JSON,
        bound: ResponseBound = UNBOUNDED,
        gzip: bool = False,
        call: AbstractAsyncContextManager[Any] | None = None,
        touch: Callable[[int], None] = lambda size: None,
        headers: Mapping[str, str] | None = None,
        rotation: Rotation | None = None,
        framing: Framing = EVENTS,
        served: Served | None = None,
    ):
        """
        Args:
            responses: what to send; closed when the client hangs up.
            grace: seconds to wait for the first response.
            keepalive: seconds of silence after which a comment line is sent.
            answers: how a response is written as the JSON of its event.
            bound: how large that may be; a response past it ends the stream as a failure.
            gzip: compress, each event flushed through at once.
            call: the open call, closed when the response is done.
            touch: told of the bytes of each event.
            headers: more headers of the response.
            rotation: gives a stream that never waits its turns; left out, it has one after each
                response.
            framing: what stands around each response.
            served: the model's figures; they know whether its streams are brief.
        """
        self.background = None
        self.status_code = 200
        # Starlette's own init_headers would add a Content-Length.
        self.raw_headers = [*framing.headers, *(GZIP_HEADERS if gzip else ()), *raw(headers or {})]
        self._lines = None if gzip or headers else framing.lines
        self._responses = responses
        self._grace = grace
        self._keepalive = keepalive
        self._before, self._after = before, after = framing.before, framing.after
        # How much of an event is no JSON.
        self._frame_bytes = len(before) + len(after)
        # An event; None where that takes too long.
        self._encode: Callable[[Any], bytes | None] = (
            StreamEncoder(before, after).encode
            if answers is JSON
            else partial(_event, answers.encode, before, after)
        )
        self._written = answers.written
        self._bound = bound
        self._framing = framing
        self._compresses = gzip
        self._gzip: zlib._Compress | None = None
        self._call: AbstractAsyncContextManager[Any] = call or nullcontext()
        self._touch = touch
        self._started = False
        self._last_sent = 0.0
        self._ready: list[bytes] = []
        self._ready_bytes = 0
        self._rotation = rotation or Rotation(0.0)
        self._served = served
        self._waited = False
        # The stream and the keep-alive take turns: gzip's output must leave in the order in which
        # it was made. Two fields, not a lock, since this is on the path of every event.
        self._writing = False
        self._comment: asyncio.Event | None = None
        # When to look, and who writes one: most streams are over before, and need no task.
        self._timer: asyncio.TimerHandle | None = None
        self._commenting: asyncio.Task[None] | None = None
        # Whether half of an event may have left.
        self._is_split = False

    # What other dialects have their own of.
    def _failure(self, response: InferenceResponse) -> MLServerError | None:
        return failure_of(response)

    def _error_event(self, error: MLServerError) -> bytes:
        return self._framing.error % orjson.dumps({"error": str(error)})

    def _lead(self) -> bytes:
        """What stands before the JSON of the next event."""
        return self._before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._call:
                await self.run(scope, receive, send)
        except MLServerError as error:
            await self.end_with(error, scope)

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, until its end or its client's."""
        self._send = send
        # Where nobody wants to see what is sent, a middleware say, it need not be sent in messages.
        self._cycle: Any = getattr(send, "__self__", None)
        self._is_plain = isinstance(self._cycle, Cycle) and not self._compresses
        self._loop = loop = asyncio.get_running_loop()
        self._look_at = loop.time() + self._grace
        with stop_on_hang_up(receive, scope):
            try:
                await self._run()
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                if self._commenting is not None:
                    self._commenting.cancel()

    async def end_with(self, error: MLServerError, scope: Scope) -> None:
        """Tell the client why its stream was ended from outside; raise that if none has begun."""
        if not self._started:
            raise error
        await self._say_why(error, scope)

    async def _say_why(self, error: MLServerError, scope: Scope) -> None:
        """Tell the client of a call that was ended from outside, if it still reads."""
        if not self._is_split:
            try:
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await self._send(self._message(self._error_event(error)))
                    await self._send(self._message(b"", last=True))
                    return
            except TimeoutError:
                pass
        if extension := (scope.get("extensions") or {}).get(ABORT):
            extension["abort"]()
            # Returns when the connection is gone; to leave before would be logged as a fault.
            await self._send(self._message(b""))

    async def _run(self) -> None:
        try:
            async with aclosing(self._responses) as responses:
                await with_pauses(self._write_all(responses), self._pause)
        except MLServerError as error:
            if not self._begun:
                raise
            self._ready.append(self._error_event(error))
        except Exception:
            # A response that cannot be encoded, say. The client has its 200, and must not be cut.
            if not self._begun:
                raise
            error_id = generate_uuid()
            logger.exception("Event stream '%s' failed.", error_id)
            self._ready.append(self._error_event(InternalError(error_id)))
        await self._flush(last=True)

    async def _write_all(self, responses: AsyncGenerator[InferenceResponse, None]) -> None:
        if await self._begin(responses):
            await self._add_all(responses)

    async def _begin(self, responses: AsyncGenerator[InferenceResponse, None]) -> bool:
        """Send what comes first; whether anything did."""
        first = await anext(responses, None)
        if first is None:
            return False
        failure = self._failure(first)
        second = await anext(responses, None) if failure and not self._started else None
        if failure and second is None and not self._started:
            # The whole answer is one failed request: that is a status, not an event.
            raise failure
        for response in (first, second):
            if response is not None and not self._add(response):
                await self._add_large(response)
        await self._flush()
        if not self._is_brief:
            # A turn for the first event to leave, whatever the model does next; and for calls that
            # came with this one to come as far.
            await self._rotation.wait()
        return True

    @property
    def _is_brief(self) -> bool:
        """Whether nothing is expected behind the first response."""
        return self._served is not None and self._served.is_brief

    def _look(self) -> None:
        """Whether the client has heard anything for a while, and when to look again."""
        silent = self._loop.time() - self._last_sent
        if not self._started or silent >= self._keepalive:
            if self._commenting is None or self._commenting.done():
                self._commenting = asyncio.create_task(self._write_comment())
            silent = 0.0
        self._timer = self._loop.call_later(self._keepalive - silent, self._look)

    async def _write_comment(self) -> None:
        if self._writing:
            return  # a client that is slow to read an event needs no other sign of life
        self._comment = asyncio.Event()
        try:
            await self._start()
            await self._send(self._message(self._framing.comment))
        finally:
            self._comment.set()
            self._comment = None

    @property
    def _begun(self) -> bool:
        """Whether the client has been told anything, or is about to be."""
        return self._started or bool(self._ready)

    async def _add_all(self, responses: AsyncIterator[InferenceResponse]) -> None:
        begun, served = monotonic(), self._served
        turn_due = begun + self._rotation.seconds
        if self._is_brief:
            turn_due = 0.0  # with the second event, if there is one
        response: InferenceResponse | None = None
        encode, add, most = self._encode, self._ready.append, self._bound.bytes
        async for response in responses:
            event = encode(response)
            if event is None:
                await self._add_large(response)
            else:
                # As `_add`, without a call for each.
                size = len(event)
                if size > most:
                    self._bound.check(size - self._frame_bytes)
                add(event)
                self._ready_bytes += size
            now = monotonic()
            if self._waited:
                # The loop has just gone round.
                self._waited = False
                turn_due = now + self._rotation.seconds
            if self._ready_bytes >= READY_BYTES:
                await self._flush()
            elif now >= turn_due:
                # A model that never awaits must not starve the others, nor outlive its client. A
                # turn costs as much as all else of a small event, hence not at each.
                await self._rotation.turn()
        if served is not None:
            served.learn(response is not None, begun)

    def _pause(self) -> Awaitable[None] | None:
        """The stream waits: what is ready leaves; None where it has left."""
        self._waited = True
        if self._timer is None:
            # Not before: most streams of one response never wait.
            self._timer = self._loop.call_at(self._look_at, self._look)
        if not self._ready:
            return None
        if self._is_plain and self._comment is None and self._started:
            data = b"".join(self._ready)
            if self._cycle.write(data):
                self._ready.clear()
                self._ready_bytes = 0
                self._touch(len(data))
                self._last_sent = self._loop.time()
                return None
        return self._flush()

    def _add(self, response: InferenceResponse) -> bool:
        """Have an event written with those that are ready beside it, unless it is too large."""
        event = self._encode(response)
        if event is None:
            return False
        if len(event) > self._bound.bytes:
            self._bound.check(len(event) - self._frame_bytes)
        self._ready.append(event)
        self._ready_bytes += len(event)
        return True

    async def _add_large(self, response: InferenceResponse) -> None:
        """Write an event that takes turns, behind those that are ready."""
        parts = await in_turns(self._written(response))
        self._bound.check(sum(map(len, parts)))
        self._is_split = True
        for part in (self._lead(), *parts, self._after):
            self._ready.append(part)
            self._ready_bytes += len(part)
            if self._ready_bytes >= COPIED_BYTES:
                await self._flush()
                self._writing = True  # no comment may stand within an event
                await asyncio.sleep(0)
        self._is_split = self._writing = False

    async def _flush(self, last: bool = False) -> None:
        if not (self._ready or last):
            return
        if self._comment is not None:
            await self._comment.wait()
        self._writing = True
        data = b"".join(self._ready)
        self._ready.clear()
        self._ready_bytes = 0
        if data:
            self._touch(len(data))
        if not self._started:
            if (
                data
                and not last
                and self._is_plain
                and self._cycle.begin(
                    self.raw_headers, data, self._lines, at_once=not self._is_brief
                )
            ):
                self._started, self._writing = True, False
                self._last_sent = self._loop.time()
                return
            await self._start()
        elif last and self._is_plain and self._cycle.write(data, last=True):
            return
        await self._send(self._message(data, last))
        self._writing = last  # nothing may follow the last

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            await self._send(
                {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            )

    def _message(self, data: bytes, last: bool = False) -> Message:
        if self._compresses:
            if self._gzip is None:
                window, memory = SHORT_GZIP if len(data) <= SHORT_EVENT_BYTES else LONG_GZIP
                self._gzip = zlib.compressobj(wbits=GZIP_FRAME + window, memLevel=memory)
            mode = zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
            data = self._gzip.compress(data) + self._gzip.flush(mode)
        self._last_sent = self._loop.time()
        return {"type": "http.response.body", "body": data, "more_body": not last}
