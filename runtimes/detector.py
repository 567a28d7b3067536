"""DetectorModel: any ONNX detector, run by onnxruntime."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlserver.errors import InvalidModelURI
from mlserver.logging import logger
from mlserver.types import InferenceRequest, MetadataTensor, Parameters
from mlserver.utils import get_model_uri
from numpy.typing import NDArray

from mlserver_streaming.models.errors import MLServerError, RequestError
from mlserver_streaming.vision.detections import Detections, clipped, select
from mlserver_streaming.vision.layouts import Layout, read
from mlserver_streaming.vision.letterbox import Letterbox, to_tensor

from .detection.batches import Batches
from .detection.frames import JPEG_INPUT, TENSOR_INPUT, Frame
from .detection.model import DATATYPES, DetectionModel, Found, Memory
from .detection.onnx_detector import OnnxDetector, OnnxSettings, Outputs

WELL_KNOWN_FILES = ["model.onnx"]
# What a model's file may be called; anything else is the caller's to look at.
LAYOUTS = ", ".join(layout.value for layout in Layout)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the model gave for a frame, and where the frame lay in its input."""

    outputs: Outputs
    height: int
    width: int
    letterbox: Letterbox | None


class DetectorModel(DetectionModel):
    """Objects by the ONNX model that `parameters.uri` points at (`model.onnx` beside its settings):
    see DetectionModel for what goes in and out. Its raw outputs are given when asked for by name.

    Names of classes, input size and stride are read from the file; the layout of its outputs is
    told by their shapes (`mlserver_streaming.vision.layouts`).

    Settings beside those of DetectionModel: `layout` of the outputs, `labels` (a list) and
    `image_size`, where the file does not say; `providers` (["CPUExecutionProvider"]) and
    `inference_threads` (one a core) of onnxruntime; `max_batch` (1): frames of all streams run
    together, for files whose batch is open; `scale` (255) that pixels are divided by and `colour`
    ("rgb" or "bgr") for models that were trained otherwise.
    """

    async def load(self) -> bool:
        await super().load()
        cores = len(os.sched_getaffinity(0))
        scale, colour = float(self.setting("scale", 255)), self.setting("colour", "rgb")
        if scale <= 0 or colour not in ("rgb", "bgr"):
            raise MLServerError("scale must be above 0, and colour rgb or bgr.", 500)
        self._scale, self._rgb = scale, colour == "rgb"
        layout, labels = self.setting("layout", None), self.setting("labels", None)
        if layout is not None and layout not in list(Layout):
            raise MLServerError(f"layout must be one of {LAYOUTS}, not {layout!r}.", 500)
        side = self.setting("image_size", None)
        settings = OnnxSettings(
            threads=int(self.setting("inference_threads", cores)),
            providers=tuple(self.setting("providers", OnnxSettings().providers)),
            layout=Layout(layout) if layout else None,
            image_size=int(side) if side else None,
            labels=tuple(labels) if labels else None,
        )
        try:
            path = Path(await get_model_uri(self.settings, WELL_KNOWN_FILES))
        except InvalidModelURI as error:
            raise MLServerError(f"Model '{self.name}' has no file: {error}", 500) from error
        # One batch at a time has all of onnxruntime's threads; a second would fight it for them.
        self._inference = ThreadPoolExecutor(1, thread_name_prefix=f"{self.name}-onnx")
        loop = asyncio.get_running_loop()
        self._detector = await loop.run_in_executor(self._inference, OnnxDetector, path, settings)
        self.labels = self._detector.labels
        limit = int(self.setting("max_batch", 1))
        if self._detector.batch is not None:
            limit = self._detector.batch
        self._in_work = max(self._in_work, 2 * limit)
        self._batches: Batches[NDArray[np.float32], Outputs] = Batches(
            self._detector.run, np.shape, max(limit, 1), self._inference
        )
        self._describe()
        logger.info("Model '%s' is %s", self.name, self._detector)
        return True

    async def unload(self) -> bool:
        await super().unload()
        self._inference.shutdown(wait=False, cancel_futures=True)
        return True

    def frames(self, request: InferenceRequest) -> list[Frame]:
        frames = super().frames(request)
        if frames and frames[0].tensor is not None:
            self._check_size(*frames[0].tensor.shape[1:])
        return frames

    async def prepare(self, frame: Frame) -> Prepared:
        loop = asyncio.get_running_loop()
        tensor, letterbox = await loop.run_in_executor(self._pool, self._tensor, frame)
        outputs = await self._batches.put(tensor)
        height, width = tensor.shape[2:]
        return Prepared(outputs, height, width, letterbox)

    def settle(self, frame: Frame, prepared: Any, memory: Memory) -> Found:
        wishes, height, width = frame.wishes, prepared.height, prepared.width
        layout = self._detector.layout
        found = select(
            read(layout, prepared.outputs, 0, wishes.confidence, height, width),
            confidence=wishes.confidence,
            # These have been suppressed by the model itself.
            iou=1.0 if layout in (Layout.ROWS, Layout.HEADS) else wishes.iou,
            classes=wishes.classes,
            max_detections=wishes.max_detections,
        )
        if prepared.letterbox is not None:
            boxes = prepared.letterbox.restore(found.boxes)
        else:
            boxes = clipped(found.boxes, width, height)
        wanted = {
            name: output
            for name, output in prepared.outputs.items()
            if wishes.outputs is not None and name in wishes.outputs
        }
        return Found(Detections(boxes, found.scores, found.classes), wanted)

    def _tensor(self, frame: Frame) -> tuple[NDArray[np.float32], Letterbox | None]:
        """A frame as the model takes it. Runs in a thread."""
        if frame.tensor is not None:
            pixels = frame.pixels()
            tensor = pixels.astype(np.float32)[None]
            if pixels.dtype == np.uint8:
                tensor /= np.float32(self._scale)
            elif self._scale != 255:
                tensor *= np.float32(255 / self._scale)
            return (tensor if self._rgb else np.ascontiguousarray(tensor[:, ::-1])), None
        image = frame.image(self._max_pixels)
        height, width = image.shape[:2]
        letterbox = Letterbox.fit(width, height, self._detector.width, self._detector.height)
        return to_tensor(letterbox.apply(image), scale=self._scale, rgb=self._rgb), letterbox

    def _check_size(self, height: int, width: int) -> None:
        detector = self._detector
        if not detector.any_size and (height, width) != (detector.height, detector.width):
            raise RequestError(
                f"Input '{TENSOR_INPUT}' has images of {width}x{height} pixels; model "
                f"'{self.name}' takes {detector.width}x{detector.height}."
            )
        if height % detector.stride or width % detector.stride:
            raise RequestError(
                f"Input '{TENSOR_INPUT}' has images of {width}x{height} pixels; model "
                f"'{self.name}' takes multiples of {detector.stride}."
            )
        if height * width > self._max_pixels:
            raise RequestError(
                f"Input '{TENSOR_INPUT}' has images of {width}x{height} pixels; at most "
                f"{self._max_pixels / 1e6:g} megapixels are taken."
            )

    def _describe(self) -> None:
        """Tell in the model's metadata what the file is."""
        detector = self._detector
        sides = [-1, -1] if detector.any_size else [detector.height, detector.width]
        self.inputs = [
            metadata_tensor(JPEG_INPUT, "BYTES", [-1]),
            metadata_tensor(TENSOR_INPUT, "FP32", [-1, 3, *sides]),
        ]
        labels = {"labels": ", ".join(self.labels)} if self.labels else {}
        outputs = [
            metadata_tensor("num_dets", "INT32", [1]),
            metadata_tensor("boxes", "FP32", [-1, 4]),
            metadata_tensor("scores", "FP32", [-1]),
            metadata_tensor("classes", "INT32", [-1], **labels),
            metadata_tensor("track_ids", "INT64", [-1]),
        ]
        own = {tensor.name for tensor in outputs}
        self.outputs = outputs + [
            metadata_tensor(name, DATATYPES[dtype.name], [-1, *shape[1:]])
            for name, (dtype, shape) in detector.outputs.items()
            if name not in own and dtype.name in DATATYPES
        ]


def metadata_tensor(
    name: str, datatype: str, shape: list[int], **parameters: str
) -> MetadataTensor:
    """A tensor as a model's metadata tells of it."""
    return MetadataTensor(
        name=name,
        datatype=datatype,  # type: ignore[arg-type]
        shape=shape,
        parameters=Parameters(**parameters) if parameters else None,  # type: ignore[arg-type]
    )
