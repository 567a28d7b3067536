"""Stream frames through a model over gRPC, several on the wire at a time.

    async with JpegStream(model="jpeg-model") as stream:
        image = await stream(frame)               # one frame
        async for image in stream.map(frames):    # many, up to `in_flight` on the wire
            ...

One `async with` is one ModelStreamInfer call. Requests leave in the order of the frames; every
request has an id, its response is found by that id, and results come in the order of the frames.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
from mlserver.grpc.dataplane_pb2 import ModelInferResponse
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from clients.address import join_address
from clients.command import GRPC_PORT, TIMEOUT_S
from clients.errors import (
    ClientError,
    FrameError,
    NoResponseError,
    ProtocolError,
    StreamCutError,
)
from clients.grpc_channel import call_error, open_channel
from clients.grpc_messages import bytes_output, bytes_request, response_error
from vision.jpeg import Image, JpegError, decode, encode

# What goes in is what comes out: pixels or JPEG bytes.
FrameT = TypeVar("FrameT", Image, bytes)

IN_FLIGHT = 8
# How long leaving the stream waits for the server's own goodbye before it hangs up.
CLOSE_S = 5.0


@dataclass(frozen=True)
class FrameResponse(Generic[FrameT]):
    """What became of one frame: `image`, or `error` and no image.

    `latency` is in seconds, from handing the request to gRPC to having read its response; the
    JPEG coding on this side is not in it.
    """

    image: FrameT | None
    error: FrameError | None
    latency: float

    def unwrap(self) -> FrameT:
        """The image; raises the FrameError of a failed frame."""
        if self.image is None:
            raise self.error or FrameError("the frame has no image")
        return self.image


@dataclass(frozen=True)
class _Sent:
    """A request on the wire. `response` gets the message and the time it was read at."""

    response: asyncio.Future[tuple[ModelInferResponse, float]]
    at: float


class JpegStream:
    """A stream of frames to one model (input `image`, output `output_image`, both BYTES [1]).

    A frame is a uint8 array ([height, width, 3] in BGR, or [height, width] grey) or an encoded JPEG
    as bytes; the answer is of the same kind. `timeout` is in seconds, for each frame; `quality`
    (1-100) is that of the JPEGs that this side makes of arrays.

    When the stream itself ends, every waiting and every later frame raises the reason:
    UnreachableError, RefusedError, StreamCutError or ProtocolError. A frame that fails alone is a
    FrameError, one that is not answered in time a NoResponseError; the stream goes on after both.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = GRPC_PORT,
        model: str = "jpeg-model",
        timeout: float = TIMEOUT_S,
        in_flight: int = IN_FLIGHT,
        quality: int = 95,
    ) -> None:
        if in_flight < 1:
            raise ValueError("in_flight must be at least 1")
        self._host, self._port, self._model, self._timeout = host, port, model, timeout
        self._address = join_address(host, port)
        self._in_flight = in_flight
        self._quality = quality
        self._sent: dict[str, _Sent] = {}
        self._count = 0
        self._ended: ClientError | None = None
        self._answered = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._channel = open_channel(self._host, self._port)
        stub: Any = GRPCInferenceServiceStub(self._channel)
        self._call = stub.ModelStreamInfer()
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None and not self._sent:
                await self._say_goodbye()
        finally:
            self._call.cancel()
            # Unlike a bare await, wait() does not hand this task's own cancelling on to the reader.
            await asyncio.wait([self._reader])
            await self._channel.close()

    async def __call__(self, image: FrameT) -> FrameT:
        """Stream one frame; raises FrameError when it failed. Tasks may call this side by side."""
        return (await self.infer(image)).unwrap()

    async def infer(self, image: FrameT) -> FrameResponse[FrameT]:
        """Stream one frame; a failed frame is returned, with its `error`, not raised."""
        return await self._receive(await self._send(image), as_jpeg=isinstance(image, bytes))

    async def map(
        self, frames: Iterable[FrameT] | AsyncIterable[FrameT]
    ) -> AsyncGenerator[FrameT | FrameError, None]:
        """The image of each frame, in order; a failed frame gives its FrameError in its place."""
        async with aclosing(self.responses(frames)) as responses:
            async for response in responses:
                yield response.error or response.unwrap()

    async def responses(
        self, frames: Iterable[FrameT] | AsyncIterable[FrameT]
    ) -> AsyncGenerator[FrameResponse[FrameT], None]:
        """The FrameResponse of each frame, in order, with up to `in_flight` frames on the wire.

        Frames are taken when there is room on the wire, whether or not the caller has come for the
        responses, and each response is given out as soon as it is the next one: a slow camera does
        not hold responses back. An error raised by `frames` comes after the responses to the
        frames before it; NoResponseError ends the iteration too. Plain iterables are read on the
        event loop: give one that blocks (a file, a camera) as an async iterable.
        """
        room = asyncio.Semaphore(self._in_flight)
        waiting: asyncio.Queue[tuple[_Sent, bool] | None] = asyncio.Queue()

        async def send_all() -> None:
            try:
                async with aclosing(_each(frames)) as source:
                    while True:
                        await room.acquire()
                        if (frame := await anext(source, None)) is None:
                            return
                        waiting.put_nowait((await self._send(frame), isinstance(frame, bytes)))
            finally:
                waiting.put_nowait(None)

        sending = asyncio.create_task(send_all())
        try:
            while (entry := await waiting.get()) is not None:
                sent, as_jpeg = entry
                response: FrameResponse[FrameT] = await self._receive(sent, as_jpeg=as_jpeg)
                room.release()
                yield response
            await sending
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await sending
            while not waiting.empty():
                if (entry := waiting.get_nowait()) is not None:
                    entry[0].response.cancel()

    async def _send(self, image: Image | bytes) -> _Sent:
        if isinstance(image, bytes):
            jpeg = image
        else:
            jpeg = await asyncio.to_thread(encode, image, self._quality)
        try:
            async with asyncio.timeout(self._timeout):
                # Shielded: cancelling a write would cancel the call and all its other frames.
                return await asyncio.shield(self._write(jpeg))
        except TimeoutError as error:
            raise self._no_response() from error

    async def _write(self, jpeg: bytes) -> _Sent:
        # gRPC takes one write at a time, and the lock is fair: requests keep their order.
        async with self._writing:
            if self._count == 1:
                # An unknown model, say, ends the call, and grpc.aio loses the server's reason when
                # that happens during a write. So one frame goes ahead and finds out.
                await self._answered.wait()
            if self._ended is not None:
                raise self._ended
            request_id = str(self._count)
            self._count += 1
            request = bytes_request(jpeg, model=self._model, request_id=request_id, tensor="image")
            response = asyncio.get_running_loop().create_future()
            sent = self._sent[request_id] = _Sent(response, time.perf_counter())
            # When the call is over, the reader knows why and tells the future.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.write(request)
        return sent

    async def _receive(self, sent: _Sent, *, as_jpeg: bool) -> FrameResponse[Any]:
        try:
            async with asyncio.timeout(self._timeout):
                message, read_at = await sent.response
        except TimeoutError as error:
            raise self._no_response() from error
        latency = read_at - sent.at
        if (failure := response_error(message)) is not None:
            return FrameResponse(None, FrameError(*failure), latency)
        jpeg = bytes_output(message, "output_image")
        if as_jpeg:
            return FrameResponse(jpeg, None, latency)
        try:
            return FrameResponse(await asyncio.to_thread(decode, jpeg), None, latency)
        except JpegError as error:
            return FrameResponse(None, FrameError(f"the response is damaged: {error}"), latency)

    async def _read(self) -> None:
        """Hand every response to the request that waits for it, until the call is over."""
        try:
            async for message in self._call:
                self._answered.set()
                sent = self._sent.pop(message.id, None)
                if sent is None:
                    raise ProtocolError(f"no frame waits for the response with id '{message.id}'")
                # The frame may have been given up in the meantime.
                if not sent.response.done():
                    sent.response.set_result((message, time.perf_counter()))
            self._ended = StreamCutError(f"the server at {self._address} ended the stream")
        except (Exception, asyncio.CancelledError) as error:
            self._ended = call_error(error, self._address)
            self._call.cancel()
        self._answered.set()
        for sent in self._sent.values():
            if not sent.response.done():
                sent.response.set_exception(self._ended)
                # Whoever sent it may have gone: no "never retrieved" then.
                sent.response.exception()

    async def _say_goodbye(self) -> None:
        """End the requests and let the server end its responses, so that it counts no hang-up."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._call.done_writing()
                await asyncio.shield(self._reader)

    def _no_response(self) -> NoResponseError:
        return NoResponseError(f"no response from {self._address} within {self._timeout:g} s")


async def _each(frames: Iterable[FrameT] | AsyncIterable[FrameT]) -> AsyncGenerator[FrameT, None]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
    else:
        for frame in frames:
            yield frame
