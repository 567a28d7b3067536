"""Requests with a frame, and what responses say of it. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mlserver.grpc.dataplane_pb2 import ModelInferRequest, ModelInferResponse
from numpy.typing import NDArray

from mlserver_streaming.vision.detections import Detections, clipped, nothing, select
from mlserver_streaming.vision.jpeg import Image, JpegError, decode
from mlserver_streaming.vision.layouts import Layout, LayoutError, find_layout, read
from mlserver_streaming.vision.letterbox import Letterbox

from ..errors import ProtocolError
from ..grpc_messages import Parameter, bytes_output, bytes_request, raw_request

DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "FP64": np.dtype("<f8"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
}


@dataclass(frozen=True)
class Sight:
    """What a model said of a frame, boxes in the frame's pixels; `image` where it answered one."""

    detections: Detections = field(default_factory=nothing)
    labels: Sequence[str] = ()
    track_ids: Sequence[int] | None = None
    image: Image | None = None


@dataclass(frozen=True)
class Thresholds:
    """What counts as a detection, and how much two of them may overlap."""

    confidence: float = 0.25
    iou: float = 0.45


def jpeg_request(
    jpeg: bytes,
    *,
    model: str,
    version: str = "",
    tensor: str = "image",
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Parameter] | None = None,
) -> ModelInferRequest:
    """A request with a frame as JPEG. `outputs` are those wanted; none is the model's usual."""
    request = bytes_request(jpeg, model=model, request_id="", tensor=tensor, parameters=parameters)
    return _addressed(request, version, outputs)


def tensor_request(
    data: NDArray[np.float32],
    *,
    model: str,
    version: str = "",
    tensor: str = "images",
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Parameter] | None = None,
) -> ModelInferRequest:
    """A request with a frame as the tensor that the model takes, float32 [1, 3, height, width]."""
    request = raw_request(
        data.tobytes(),
        datatype="FP32",
        shape=data.shape,
        model=model,
        request_id="",
        tensor=tensor,
        parameters=parameters,
    )
    return _addressed(request, version, outputs)


def in_sequence(
    request: ModelInferRequest, sequence_id: str, *, start: bool = False, end: bool = False
) -> ModelInferRequest:
    """The request as one of a sequence."""
    request.parameters["sequence_id"].string_param = sequence_id
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    return request


def read_sight(
    message: ModelInferResponse,
    width: int,
    height: int,
    letterbox: Letterbox | None = None,
    thresholds: Thresholds | None = None,
) -> Sight:
    """What a response says of a frame of `width` x `height` pixels.

    Args:
        letterbox: how the frame lay in the tensor that was sent; None where it went as JPEG.
        thresholds: used on a detector's raw output, where nobody has chosen before.

    Raises:
        ProtocolError: it has neither detections nor an image.
    """
    names = [output.name for output in message.outputs]
    if "output_image" in names:
        try:
            return Sight(image=decode(bytes_output(message, "output_image")))
        except JpegError as error:
            raise ProtocolError(f"the image that came back is damaged: {error}") from error
    if not names:
        return Sight()
    tensors = _tensors(message)
    if {"boxes", "scores", "classes"} <= tensors.keys() and tensors["boxes"].ndim == 2:
        found = Detections(
            tensors["boxes"].astype(np.float32).reshape(-1, 4),
            tensors["scores"].astype(np.float32),
            tensors["classes"].astype(np.int32),
        )
    else:
        found = _raw(tensors, letterbox, thresholds or Thresholds())
    if letterbox is not None:
        boxes = letterbox.restore(found.boxes)
    else:
        boxes = clipped(found.boxes, width, height)
    tracks = tensors.get("track_ids")
    return Sight(
        Detections(boxes, found.scores, found.classes),
        _labels(message, found),
        None if tracks is None else tracks.tolist(),
    )


def _raw(
    tensors: Mapping[str, NDArray[Any]], letterbox: Letterbox | None, thresholds: Thresholds
) -> Detections:
    """A detector's own output, where the server does not read it: Triton with a bare model."""
    if letterbox is None:
        raise ProtocolError(
            f"the response has no detections (outputs: {', '.join(tensors)}); a detector that "
            "gives its raw output must be sent tensors"
        )
    height, width = letterbox.input_height, letterbox.input_width
    try:
        layout = find_layout(tensors, height, width)
    except LayoutError as error:
        raise ProtocolError(f"the response has no detections: {error}") from error
    return select(
        read(layout, tensors, 0, thresholds.confidence, height, width),
        confidence=thresholds.confidence,
        iou=1.0 if layout in (Layout.ROWS, Layout.HEADS) else thresholds.iou,
    )


def _addressed(
    request: ModelInferRequest, version: str, outputs: Sequence[str]
) -> ModelInferRequest:
    request.model_version = version
    for name in outputs:
        request.outputs.add(name=name)
    return request


def _tensors(message: ModelInferResponse) -> dict[str, NDArray[Any]]:
    found = {}
    for index, output in enumerate(message.outputs):
        dtype = DTYPES.get(output.datatype)
        if dtype is None:
            continue
        try:
            if message.raw_output_contents:
                flat = np.frombuffer(message.raw_output_contents[index], dtype)
            else:
                fields = output.contents.ListFields()
                flat = np.array(fields[0][1] if fields else [], dtype)
            found[output.name] = flat.reshape(list(output.shape))
        except (ValueError, IndexError) as error:
            raise ProtocolError(
                f"output '{output.name}' is not of its shape {list(output.shape)}"
            ) from error
    return found


def _labels(message: ModelInferResponse, found: Detections) -> list[str]:
    """The names of the classes: our servers send them along, one for each detection."""
    numbers = [str(number) for number in found.classes.tolist()]
    if "labels" not in message.parameters:
        return numbers
    try:
        labels = json.loads(message.parameters["labels"].string_param)
    except ValueError:
        return numbers
    fits = isinstance(labels, list) and len(labels) == len(numbers)
    return [str(label) for label in labels] if fits else numbers
