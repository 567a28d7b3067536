"""Stream frames through a model over gRPC, several on the wire at a time.

    async with JpegStream(model="jpeg-model") as stream:
        image = await stream(frame)               # one frame
        async for image in stream.map(frames):    # many, up to `in_flight` on the wire
            ...

One `async with` is one ModelStreamInfer call and one sequence: entering it sends START, leaving it
END, so that the model can keep something for these frames. Requests leave in the order of the
frames; every request has an id, its response is found by that id, and results come in the order of
the frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from mlserver_streaming.vision.jpeg import Image, JpegError, decode, encode

from .command import GRPC_PORT, TIMEOUT_S
from .credentials import ANONYMOUS, Credentials
from .errors import ClientError, FrameError, NoResponseError, RefusedError
from .grpc_channel import open_channel
from .grpc_messages import Parameter, bytes_output, response_error
from .infer_call import InferCall, Sent
from .retries import Retries
from .server import Server
from .tls import Tls

# What goes in is what comes out: pixels or JPEG bytes.
FrameT = TypeVar("FrameT", Image, bytes)

IN_FLIGHT = 8
# How long leaving the stream waits for the server's own goodbye before it hangs up.
CLOSE_S = 5.0
# Stands for a frame in START and END, as in Triton's sample client.
PLACEHOLDER = b"1"


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


class JpegStream:
    """A stream of frames to one model (input `image`, output `output_image`, both BYTES [1]).

    A frame is a uint8 array ([height, width, 3] in BGR, or [height, width] grey) or an encoded JPEG
    as bytes; the answer is of the same kind. `timeout` is in seconds, for each frame; `quality`
    (1-100) is that of the JPEGs that this side makes of arrays. `sequence_id` is that of the
    sequence; left out, one is made up, and 0 or "" means none. With `shared_memory` frames go to a
    server on this host by way of a file under /dev/shm.

    Entering raises the reason why there is no stream: nobody there, no such model, no START. A
    server that went away is tried again then, later not: what it knew of the sequence is gone.
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
        sequence_id: int | str | None = None,
        shared_memory: bool = False,
        tls: Tls | None = None,
        credentials: Credentials = ANONYMOUS,
    ) -> None:
        if in_flight < 1:
            raise ValueError("in_flight must be at least 1")
        self._server = Server(host, port, tls, credentials)
        self._model, self._timeout = model, timeout
        self._in_flight = in_flight
        self._quality = quality
        self._shared_memory = shared_memory
        self._given_id = sequence_id

    async def __aenter__(self) -> Self:
        retries = Retries()
        while True:
            # A new one for each try: nobody knows whether a server that went away had read START.
            self._sequence_id = uuid4().hex if self._given_id is None else self._given_id
            self._channel = open_channel(self._server)
            self._call = InferCall(
                self._channel,
                self._server,
                shared_memory=self._shared_memory,
                sequence_id=self._sequence_id,
            )
            try:
                await self._start_sequence()
                return self
            except ClientError as error:
                await self._close()
                await retries.after(error)
            except BaseException:
                await self._close()
                raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._call.ended is None:
                with suppress(ClientError, TimeoutError):
                    async with asyncio.timeout(CLOSE_S):
                        await self._end_sequence()
        finally:
            await self._close()

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
        waiting: asyncio.Queue[tuple[Sent, bool] | None] = asyncio.Queue()

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

    async def _send(self, image: Image | bytes) -> Sent:
        if isinstance(image, bytes):
            jpeg = image
        else:
            jpeg = await asyncio.to_thread(encode, image, self._quality)
        try:
            async with asyncio.timeout(self._timeout):
                # Shielded: cancelling a write would cancel the call and all its other frames.
                return await asyncio.shield(self._write(self._call, jpeg))
        except TimeoutError as error:
            raise NoResponseError(self._server.address, self._timeout) from error

    async def _write(self, call: InferCall, data: bytes, **flags: bool) -> Sent:
        parameters: dict[str, Parameter] = {}
        if self._sequence_id:
            parameters = {"sequence_id": self._sequence_id, **flags}
        return await call.write(data, model=self._model, tensor="image", parameters=parameters)

    async def _receive(self, sent: Sent, *, as_jpeg: bool) -> FrameResponse[Any]:
        try:
            async with asyncio.timeout(self._timeout):
                message, read_at = await sent.response
        except TimeoutError as error:
            raise NoResponseError(self._server.address, self._timeout) from error
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

    async def _start_sequence(self) -> None:
        """Send START and wait for its answer: whatever is wrong is told before the first frame."""
        if not self._sequence_id:
            return
        try:
            async with asyncio.timeout(self._timeout):
                sent = await self._write(self._call, PLACEHOLDER, sequence_start=True)
                message, _ = await sent.response
        except TimeoutError as error:
            raise NoResponseError(self._server.address, self._timeout) from error
        if (failure := response_error(message)) is not None:
            text, code = failure
            raise RefusedError(
                f"the sequence was not started: {text}", "UNKNOWN" if code is None else code
            )

    async def _end_sequence(self) -> None:
        """Send END and let the server end its responses, so that it counts no hang-up.

        Nobody comes for the responses to frames still on the wire: their call is hung up. A server
        drops what it has not read of such a call, so END has one of its own then.
        """
        call = self._call
        if call.in_flight:
            await call.hang_up()
            if not self._sequence_id:
                return
            call = InferCall(self._channel, self._server, sequence_id=self._sequence_id)
        try:
            if self._sequence_id:
                await self._write(call, PLACEHOLDER, sequence_end=True)
            await call.finish()
        finally:
            await call.hang_up()

    async def _close(self) -> None:
        await self._call.hang_up()
        await self._channel.close()


async def _each(frames: Iterable[FrameT] | AsyncIterable[FrameT]) -> AsyncGenerator[FrameT, None]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
    else:
        for frame in frames:
            yield frame
