"""DetectionModel: what models that find objects in frames have in common."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    ResponseOutput,
)
from numpy.typing import NDArray

from mlserver_streaming.models.errors import MLServerError
from mlserver_streaming.models.messages import output
from mlserver_streaming.models.ordered import ordered
from mlserver_streaming.models.sequences import Sequence as LiveSequence
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import is_placeholder
from mlserver_streaming.vision.detections import Detections

from ..memory import keep_freed_memory
from .frames import JPEG_INPUT, TENSOR_DTYPES, TENSOR_INPUT, Frame, Wishes, split, wishes_of
from .lane import Lane, Turn
from .tracking import Tracker

DEFAULT_MAX_MEGAPIXELS = 50
# Frames of one stream in work at once, for each thread: one in work, one ready to follow it.
FRAMES_A_THREAD = 2
USUAL_OUTPUTS = ("num_dets", "boxes", "scores", "classes")
DATATYPES = {"float32": "FP32", "float16": "FP16", "int32": "INT32", "int64": "INT64"}


@dataclass(slots=True)
class Memory:
    """What is kept from frame to frame of one camera."""

    model: Any = None
    tracker: Tracker | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A frame on its way, its camera, and its turn there."""

    frame: Frame
    lane: Lane
    turn: Turn


@dataclass(frozen=True, slots=True)
class Found:
    """What a model says of a frame: boxes in its pixels, and raw tensors that were asked for."""

    detections: Detections
    raw: Mapping[str, NDArray[Any]]


class DetectionModel(StreamingModel):
    """Frames in, boxes out, one response a frame and in their order.

    Inputs: `image` BYTES [n], each element a JPEG or its base64 text; or `images` FP32 (0 to 1),
    FP16 or UINT8 [n, 3, height, width], RGB.

    Outputs of each frame: `num_dets` INT32 [1], `boxes` FP32 [n, 4] (left top right bottom, in
    pixels of the frame as sent), `scores` FP32 [n], `classes` INT32 [n], and `track_ids` INT64 [n]
    (-1: not yet tracked) where tracks are asked for. Response parameters: `labels`, the classes'
    names, one for each detection; `frame_index` where a request holds several frames.

    Request parameters `confidence` (0.25), `iou` (0.45), `classes` (numbers or names; all),
    `max_detections` (300), `track` (false); settings of the same names are their defaults.
    Settings `threads` (one a core), `max_megapixels` (50).

    What is remembered between frames (a background, tracks) belongs to the request's sequence; a
    request without one belongs to its stream.
    """

    labels: Sequence[str] = ()

    async def load(self) -> bool:
        keep_freed_memory()
        self._max_pixels = int(
            float(self.setting("max_megapixels", DEFAULT_MAX_MEGAPIXELS)) * 1_000_000
        )
        threads = int(self.setting("threads", len(os.sched_getaffinity(0))))
        self._in_work = threads * FRAMES_A_THREAD
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=self.name)
        usual = Wishes()
        self._defaults = Wishes(
            confidence=float(self.setting("confidence", usual.confidence)),
            iou=float(self.setting("iou", usual.iou)),
            max_detections=int(self.setting("max_detections", usual.max_detections)),
            track=bool(self.setting("track", usual.track)),
        )
        return True

    async def unload(self) -> bool:
        await super().unload()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return True

    async def prepare(self, frame: Frame) -> Any:
        """What can be done of a frame without its camera's memory, many frames side by side.

        Raises:
            MLServerError: the frame cannot be read; the others go on.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define prepare()")

    def settle(self, frame: Frame, prepared: Any, memory: Memory) -> Found:
        """The rest, in the order of the camera's frames. Runs in a thread."""
        raise NotImplementedError(f"{type(self).__name__} does not define settle()")

    def tracked_score(self) -> float | None:
        """The score that every detection has for the tracker; None is its own."""
        return None

    def class_ids(self) -> dict[str, int]:
        """The classes' numbers by their names."""
        return {label: number for number, label in enumerate(self.labels)}

    def sequence_started(self, sequence: LiveSequence) -> None:
        sequence.state = Lane(Memory())

    def is_placeholder(self, request: InferenceRequest) -> bool:
        return all(
            tensor.name == JPEG_INPUT and is_placeholder(tensor) for tensor in request.inputs
        )

    def datatypes(self, tensor: MetadataTensor) -> tuple[str, ...]:
        if tensor.name == TENSOR_INPUT:
            return tuple(TENSOR_DTYPES)
        return super().datatypes(tensor)

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        items = self._items(payloads)
        async with aclosing(ordered(items, self._start, self._in_work)) as responses:
            async for response in responses:
                yield response

    async def _items(
        self, requests: AsyncIterator[InferenceRequest]
    ) -> AsyncGenerator[tuple[Frame, Lane] | InferenceResponse, None]:
        """Every frame of every request, or the response that answers the request."""
        own = Lane(Memory())
        async for request in requests:
            try:
                visit = self.enter(request)
            except MLServerError as error:
                yield self.failure(request, error)
                continue
            lane = own if visit.sequence is None else visit.sequence.state
            try:
                if not visit.has_data:
                    yield self.response(request, [])
                    continue
                for frame in self.frames(request):
                    yield frame, lane
            except MLServerError as error:
                yield self.failure(request, error)
            finally:
                self.leave(visit)

    def frames(self, request: InferenceRequest) -> list[Frame]:
        """A request's frames.

        Raises:
            RequestError: it cannot be understood.
        """
        return split(request, wishes_of(request, self._defaults, self.class_ids()))

    def _start(
        self, item: tuple[Frame, Lane] | InferenceResponse
    ) -> "asyncio.Future[InferenceResponse]":
        if isinstance(item, tuple):
            frame, lane = item
            work = Work(frame, lane, lane.turn())
            task = asyncio.create_task(self._answer(work))
            # Also when it is cancelled before it has begun.
            task.add_done_callback(lambda _: work.turn.pass_on())
            return task
        answered: asyncio.Future[InferenceResponse] = asyncio.get_running_loop().create_future()
        answered.set_result(item)
        return answered

    async def _answer(self, work: Work) -> InferenceResponse:
        frame = work.frame
        parameters: dict[str, Any] = {"frame_index": frame.index} if frame.count > 1 else {}
        try:
            prepared = await self.prepare(frame)
            outputs, labels = await work.turn.run(self._pool, self._settle, work, prepared)
        except MLServerError as error:
            return self.failure(frame.request, error, **parameters)
        return self.response(frame.request, outputs, labels=labels, **parameters)

    def _settle(self, work: Work, prepared: Any) -> tuple[list[ResponseOutput], list[str]]:
        frame, memory = work.frame, work.lane.memory
        found = self.settle(frame, prepared, memory)
        detections = found.detections
        tensors: dict[str, NDArray[Any]] = {
            "num_dets": np.array([len(detections)], np.int32),
            "boxes": detections.boxes,
            "scores": detections.scores,
            "classes": detections.classes,
        }
        if frame.wishes.track:
            if memory.tracker is None:
                memory.tracker = Tracker(frame.wishes.confidence)
            tensors["track_ids"] = memory.tracker.update(detections, self.tracked_score())
        tensors |= found.raw
        usual = [name for name in tensors if name not in found.raw]
        names = frame.wishes.outputs or usual
        return (
            [tensor_output(name, tensors[name]) for name in names],
            [self._label(number) for number in detections.classes.tolist()],
        )

    def _label(self, number: int) -> str:
        return self.labels[number] if 0 <= number < len(self.labels) else str(number)


def tensor_output(name: str, data: NDArray[Any]) -> ResponseOutput:
    """A tensor of a response."""
    return output(name, DATATYPES[data.dtype.name], list(data.shape), data)
