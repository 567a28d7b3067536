"""Stream frames to a model that finds objects in them, and keep on when the server goes away.

    async with DetectionStream(StreamSettings(model="motion")) as stream:
        answer = await stream.ask(frame)
        print(answer.sight.labels)

Unlike JpegStream it outlives its calls: when one breaks off, another is opened.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from mlserver.grpc.dataplane_pb2 import ModelInferRequest, ModelInferResponse, ModelReadyRequest
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from mlserver_streaming.vision.jpeg import Image, encode
from mlserver_streaming.vision.letterbox import Letterbox, to_tensor

from ..errors import (
    ClientError,
    FrameError,
    ItemError,
    LostFrameError,
    NoResponseError,
    ProtocolError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from ..grpc_channel import call_error, open_channel
from ..grpc_messages import response_error
from ..infer_call import InferCall
from .grpc_detections import Sight, in_sequence, jpeg_request, read_sight, tensor_request
from .send_order import SendOrder
from .stream_settings import StreamSettings

# How long one attempt to connect may take, and the pause before the next.
ATTEMPT_S, PAUSE_S = 2.0, 0.25
# Stands for a frame in END, as in Triton's sample client.
PLACEHOLDER = b"1"
# A server that comes back may not have loaded its models yet.
COMING_UP = ("UNAVAILABLE", "NOT_FOUND")


@dataclass(frozen=True)
class Answer:
    """What became of one frame: `sight`, or `error`; `latency` in seconds from sending to reading,
    `answered_at` by time.perf_counter."""

    sight: Sight
    error: ItemError | None
    latency: float
    answered_at: float


class _FrameFailure(Exception):
    """One frame has no answer; the stream goes on."""

    def __init__(self, error: ItemError) -> None:
        super().__init__(str(error))
        self.error = error


class DetectionStream:
    """Frames to one model, any number at once; they leave in the order in which they were asked.

    Entering raises UnreachableError or RefusedError where there is no such server or model.
    """

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._opening = asyncio.Lock()
        self._call: InferCall | None = None
        self._calls = 0
        self._stale: InferCall | None = None
        self._marked: InferCall | None = None
        self._order = SendOrder()
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:
            await self._hang_up()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self._call is not None and not self._call.in_flight:
            with suppress(ClientError, TimeoutError):
                async with asyncio.timeout(ATTEMPT_S):
                    if self._marked is self._call:
                        request = jpeg_request(PLACEHOLDER, model=self._settings.model)
                        await self._call.send(in_sequence(request, self._sequence_id, end=True))
                    await self._call.finish()
        await self._hang_up()

    @property
    def connections(self) -> int:
        """How many calls have been opened so far; more than 1 when the server went away."""
        return self._calls

    async def connected(self) -> None:
        """Wait until there is a call; where the server went away, until it is back.

        Raises:
            ClientError: it did not come back in time.
        """
        await self._open_call()

    async def request(self, image: Image) -> tuple[ModelInferRequest, Letterbox | None]:
        """A frame as it is sent; coded in a thread."""
        return await asyncio.to_thread(self._request, image)

    async def ask(
        self, image: Image, made: tuple[ModelInferRequest, Letterbox | None] | None = None
    ) -> Answer:
        """Send a frame and wait for its answer; a frame that fails alone is answered with `error`.

        Args:
            made: its `request`, where that has been made before.

        Raises:
            ClientError: the server refuses the stream, or went away for too long.
        """
        request, letterbox = made or await self.request(image)
        number, sent_at = self._order.take(), time.perf_counter()
        try:
            message, sent_at, answered_at = await self._exchange(number, request)
        except _FrameFailure as failure:
            now = time.perf_counter()
            return Answer(Sight(), failure.error, now - sent_at, now)
        finally:
            self._order.sent(number)
        latency = answered_at - sent_at
        if (failed := response_error(message)) is not None:
            return Answer(Sight(), FrameError(*failed), latency, answered_at)
        height, width = image.shape[:2]
        try:
            sight = read_sight(message, width, height, letterbox, self._settings.thresholds)
        except ProtocolError as error:
            return Answer(Sight(), FrameError(str(error)), latency, answered_at)
        return Answer(sight, None, latency, answered_at)

    async def _exchange(
        self, number: int, request: ModelInferRequest
    ) -> tuple[ModelInferResponse, float, float]:
        """Send a request in its turn, as often as it takes; its response, and when it was sent and
        answered."""
        deadline: float | None = None
        while True:
            call = await self._open_call() if self._settings.resend else self._call
            await self._order.turn(number)
            if call is None or call is not self._call or self._is_over(call):
                if self._settings.resend:
                    continue
                # A live frame is old by the time that there is another call.
                raise _FrameFailure(LostFrameError("the frame was lost: the server went away"))
            self._mark(request, call)
            try:
                async with asyncio.timeout(self._settings.timeout):
                    sent = await asyncio.shield(call.send(request))
                    self._order.sent(number)
                    message, answered_at = await sent.response
                    return message, sent.at, answered_at
            except (StreamCutError, UnreachableError, RefusedError) as error:
                if isinstance(error, RefusedError) and error.status not in COMING_UP:
                    raise
                self._order.again(number)
                self._give_up(call)
                deadline = deadline or time.monotonic() + self._settings.retry_s
                if not self._settings.resend:
                    lost = LostFrameError(f"the frame was lost: {error}")
                    raise _FrameFailure(lost) from error
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(PAUSE_S)
            except TimeoutError as error:
                self._give_up(call)
                late = NoResponseError(self._settings.server.address, self._settings.timeout)
                raise _FrameFailure(FrameError(str(late))) from error

    def _mark(self, request: ModelInferRequest, call: InferCall) -> None:
        """Make a request one of the call's sequence, which the call's first one starts."""
        if self._settings.sequence_id:
            start, self._marked = self._marked is not call, call
            in_sequence(request, self._sequence_id, start=start)

    @property
    def _sequence_id(self) -> str:
        # Where the server did not go away, only its stream, the sequence before is still there.
        suffix = f"~{self._calls}" if self._calls > 1 else ""
        return f"{self._settings.sequence_id}{suffix}"

    def _request(self, image: Image) -> tuple[ModelInferRequest, Letterbox | None]:
        settings = self._settings
        common: dict[str, Any] = {
            "model": settings.model,
            "version": settings.version,
            "outputs": settings.outputs,
            "parameters": settings.parameters,
        }
        if settings.side is None:
            name = settings.input_name or "image"
            return jpeg_request(encode(image, settings.quality), tensor=name, **common), None
        height, width = image.shape[:2]
        letterbox = Letterbox.fit(width, height, settings.side, settings.side)
        tensor = to_tensor(letterbox.apply(image))
        return tensor_request(tensor, tensor=settings.input_name or "images", **common), letterbox

    async def _open_call(self) -> InferCall:
        """The call that goes on; opened again where it is over."""
        async with self._opening:
            call = self._call
            if call is None or self._is_over(call):
                await self._reconnect()
                call = self._call
            assert call is not None
            return call

    async def _reconnect(self) -> None:
        deadline = time.monotonic() + self._settings.retry_s
        while True:
            await self._hang_up()
            try:
                return await self._connect()
            except (UnreachableError, StreamCutError, NoResponseError, RefusedError) as error:
                if isinstance(error, RefusedError) and error.status not in COMING_UP:
                    raise
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(PAUSE_S)

    async def _connect(self) -> None:
        """A channel to a server that has the model ready, and a call on it."""
        settings, server = self._settings, self._settings.server
        self._channel = open_channel(server)
        stub: Any = GRPCInferenceServiceStub(self._channel)
        request = ModelReadyRequest(name=settings.model, version=settings.version)
        try:
            found = await stub.ModelReady(request, timeout=ATTEMPT_S, metadata=server.metadata())
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise UnreachableError(
                    f"nobody answers at {server.address} within {ATTEMPT_S:g} s"
                ) from error
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise call_error(error, server) from error
        else:
            if not found.ready:
                raise RefusedError(f"model '{settings.model}' is not ready", "UNAVAILABLE")
        self._calls += 1
        self._call = InferCall(
            self._channel,
            server,
            id_prefix=f"{settings.stream_id}:",
            shared_memory=settings.shared_memory,
            sequence_id=self._sequence_id if settings.sequence_id else None,
        )

    def _is_over(self, call: InferCall) -> bool:
        return call is self._stale or call.ended is not None

    def _give_up(self, call: InferCall) -> None:
        """Use another call from now on."""
        self._stale = call
        call.cancel()

    async def _hang_up(self) -> None:
        call, self._call = self._call, None
        channel, self._channel = self._channel, None
        if call is not None:
            await call.hang_up()
        if channel is not None:
            await channel.close()
