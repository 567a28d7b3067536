"""JpegModel: JPEG frames in, each decoded and encoded again, out in order."""

import asyncio
import base64
import os
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass

from mlserver.logging import logger
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.models.errors import ContentError, MLServerError, RequestError
from mlserver_streaming.models.ordered import ordered
from mlserver_streaming.models.parameters import integer
from mlserver_streaming.models.sequences import Sequence
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import (
    BASE64,
    bytes_output,
    content_type,
    elements,
    from_base64,
    is_placeholder,
)
from mlserver_streaming.vision.jpeg import JpegError, recode

from .memory import keep_freed_memory

DEFAULT_QUALITY = 95
DEFAULT_MAX_MEGAPIXELS = 50
# Frames of one stream in work at once, for each thread: one that is being coded and one that is
# ready to follow it. More only adds latency and memory.
FRAMES_A_THREAD = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a request: JPEG bytes, and how its answer is to be given."""

    request: InferenceRequest
    index: int
    count: int
    data: bytes
    quality: int
    as_base64: bool


class JpegModel(StreamingModel):
    """Codes JPEG frames again at another quality; size, colour and order stay.

    Input `image` BYTES [n], each element JPEG bytes or base64 text of them; output `output_image`
    BYTES [1] in the same form, one response a frame, with the parameter `frame_index` where a
    request holds several. EXIF orientation is applied.

    Request parameter `quality`: 1 to 100 (setting `quality`, 95).
    Settings `max_megapixels` (50): larger frames are refused from their header;
    `threads`: frames coded at once (one a core).
    """

    async def load(self) -> bool:
        keep_freed_memory()
        self._quality = int(self.setting("quality", DEFAULT_QUALITY))
        self._max_pixels = int(
            float(self.setting("max_megapixels", DEFAULT_MAX_MEGAPIXELS)) * 1_000_000
        )
        threads = int(self.setting("threads", len(os.sched_getaffinity(0))))
        self._in_work = threads * FRAMES_A_THREAD
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=self.name)
        return True

    async def unload(self) -> bool:
        await super().unload()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return True

    def sequence_started(self, sequence: Sequence) -> None:
        sequence.state = 0  # its frames so far
        # An id is any text: %a leaves it no line breaks.
        logger.info("Stream %a started", sequence.sent_id)

    def sequence_ended(self, sequence: Sequence) -> None:
        logger.info("Stream %a stopped (%d frames)", sequence.sent_id, sequence.state)

    def sequence_expired(self, sequence: Sequence) -> None:
        logger.info("Stream %a given up, idle (%d frames)", sequence.sent_id, sequence.state)

    def is_placeholder(self, request: InferenceRequest) -> bool:
        return all(is_placeholder(tensor) for tensor in request.inputs)

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        frames = self._frames(payloads)
        async with aclosing(ordered(frames, self._start, self._in_work)) as responses:
            async for response in responses:
                yield response

    async def _frames(
        self, requests: AsyncIterator[InferenceRequest]
    ) -> AsyncGenerator[Frame | InferenceResponse, None]:
        """Every frame of every request, or the response that fails the request."""
        async for request in requests:
            try:
                visit = self.enter(request)
            except MLServerError as error:
                yield self.failure(request, error)
                continue
            try:
                frames = self._split(request) if visit.has_data else []
                if visit.sequence is not None:
                    visit.sequence.state += len(frames)
                if not visit.has_data:
                    yield self.response(request, [])
                for frame in frames:
                    yield frame
            except MLServerError as error:
                yield self.failure(request, error)
            finally:
                self.leave(visit)

    def _split(self, request: InferenceRequest) -> list[Frame]:
        quality = integer(request, "quality", self._quality, 1, 100)
        tensor = self.input(request, "image")
        declared = content_type(tensor) == BASE64
        images = elements(tensor)
        frames = []
        for index, image in enumerate(images):
            if not isinstance(image, str | bytes):
                raise RequestError(
                    f"Element {index} of input 'image' is a {type(image).__name__}; send JPEG "
                    "bytes or their base64 text."
                )
            data = image.encode(errors="replace") if isinstance(image, str) else image
            as_base64 = not data.startswith(b"\xff\xd8") and (
                declared or isinstance(image, str) or from_base64(data) is not None
            )
            frames.append(Frame(request, index, len(images), data, quality, as_base64))
        return frames

    def _start(self, item: Frame | InferenceResponse) -> "asyncio.Future[InferenceResponse]":
        loop = asyncio.get_running_loop()
        if isinstance(item, Frame):
            return loop.run_in_executor(self._pool, self._answer, item)
        answered: asyncio.Future[InferenceResponse] = loop.create_future()
        answered.set_result(item)
        return answered

    def _answer(self, frame: Frame) -> InferenceResponse:
        """One frame's response. Runs in the pool."""
        parameters = {"frame_index": frame.index} if frame.count > 1 else {}
        try:
            image = from_base64(frame.data) if frame.as_base64 else frame.data
            if image is None:
                raise ContentError(
                    f"Element {frame.index} of input 'image' is neither a JPEG nor base64 text."
                )
            try:
                coded = recode(image, frame.quality, self._max_pixels)
            except JpegError as error:
                raise ContentError(f"Element {frame.index} of input 'image': {error}") from error
        except MLServerError as error:
            return self.failure(frame.request, error, **parameters)
        output = (
            bytes_output("output_image", [base64.b64encode(coded).decode()], BASE64)
            if frame.as_base64
            else bytes_output("output_image", [coded])
        )
        return self.response(frame.request, [output], **parameters)
