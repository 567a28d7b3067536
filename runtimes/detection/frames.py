"""The frames of a request: JPEGs or a ready tensor, and what is asked of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from mlserver.types import InferenceRequest, RequestInput, TensorData
from numpy.typing import NDArray

from mlserver_streaming.models.errors import ContentError, ParameterError, RequestError, shown
from mlserver_streaming.models.parameters import flag, integer, number, parameter
from mlserver_streaming.models.tensors import elements, from_base64
from mlserver_streaming.vision.jpeg import Image, JpegError, decode

JPEG_INPUT, TENSOR_INPUT = "image", "images"
TENSOR_DTYPES = {"FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8}
MAX_DETECTIONS = 10_000
# Rounding, and interpolation that overshoots, may leave 0 to 1 by this much.
RANGE_SLACK = 0.01


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request asks of its frames; see `mlserver_streaming.vision.detections.select`.

    Attributes:
        classes: only these; None is all.
        track: whether objects are followed from frame to frame.
        outputs: names of the outputs to give; None is the usual ones.
    """

    confidence: float = 0.25
    iou: float = 0.45
    classes: tuple[int, ...] | None = None
    max_detections: int = 300
    track: bool = False
    outputs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a request: `jpeg`, or `tensor` [3, height, width] as it was sent."""

    request: InferenceRequest
    index: int
    count: int
    wishes: Wishes
    jpeg: str | bytes | None = None
    tensor: NDArray[Any] | None = None

    def image(self, max_pixels: int) -> Image:
        """The image, uint8 [height, width, 3] BGR or [height, width] grey. Takes a while.

        Raises:
            ContentError: it cannot be read, or is too large.
        """
        if self.tensor is not None:
            pixels = self.pixels()
            if pixels.dtype != np.uint8:
                pixels = (pixels * 255).round().clip(0, 255).astype(np.uint8)
            return np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0))
        data = self.jpeg.encode(errors="replace") if isinstance(self.jpeg, str) else self.jpeg
        if data is not None and not data.startswith(b"\xff\xd8"):
            data = from_base64(data)
        if not data:
            raise ContentError(
                f"Element {self.index} of input '{JPEG_INPUT}' is neither a JPEG nor base64 text."
            )
        try:
            return decode(data, max_pixels)
        except JpegError as error:
            raise ContentError(f"Element {self.index} of input '{JPEG_INPUT}': {error}") from error

    def pixels(self) -> NDArray[Any]:
        """The tensor, checked.

        Raises:
            ContentError: it holds what is no pixel: NaN, or values outside of 0 to 1.
        """
        assert self.tensor is not None
        if self.tensor.dtype == np.uint8:
            return self.tensor
        low, high = float(self.tensor.min()), float(self.tensor.max())
        if low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK:
            return self.tensor
        where = f"Image {self.index} of input '{TENSOR_INPUT}'"
        if np.isnan(low) or np.isnan(high):
            raise ContentError(f"{where} holds NaN.")
        raise ContentError(
            f"{where} has values from {low:g} to {high:g}; they must be from 0 to 1 "
            "(for 0 to 255, send UINT8)."
        )


def split(request: InferenceRequest, wishes: Wishes) -> list[Frame]:
    """The frames of a request whose names and datatypes have been checked.

    Raises:
        RequestError: both inputs are there, or shape and data disagree.
    """
    if len(request.inputs) > 1:
        raise RequestError(f"Send '{JPEG_INPUT}' or '{TENSOR_INPUT}', not both.")
    (tensor,) = request.inputs
    if tensor.name == JPEG_INPUT:
        found = elements(tensor)
        for index, element in enumerate(found):
            if not isinstance(element, str | bytes):
                raise RequestError(
                    f"Element {index} of input '{JPEG_INPUT}' is a {type(element).__name__}; send "
                    "JPEG bytes or their base64 text."
                )
        return [
            Frame(request, index, len(found), wishes, jpeg=element)
            for index, element in enumerate(found)
        ]
    images = image_tensor(tensor)
    return [
        Frame(request, index, len(images), wishes, tensor=image)
        for index, image in enumerate(images)
    ]


def image_tensor(tensor: RequestInput) -> NDArray[Any]:
    """An input of images as an array [n, 3, height, width].

    Raises:
        RequestError: its shape is another, or its data is not of that size.
    """
    shape, datatype = list(tensor.shape), str(tensor.datatype)
    if len(shape) != 4 or shape[1] != 3 or min(shape) < 1:
        raise RequestError(
            f"Input '{tensor.name}' must have shape [n, 3, height, width], not {shape}."
        )
    data = tensor.data.root if isinstance(tensor.data, TensorData) else tensor.data
    dtype = np.dtype(TENSOR_DTYPES[datatype])
    try:
        array = np.asarray(data, dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(f"The data of input '{tensor.name}' is not {datatype}.") from error
    if array.size != prod(shape):
        raise RequestError(
            f"Input '{tensor.name}' is {datatype} of shape {shape}, so "
            f"{prod(shape) * dtype.itemsize} bytes, but its data has {array.nbytes}."
        )
    return array.reshape(shape)


def wishes_of(request: InferenceRequest, defaults: Wishes, class_ids: Mapping[str, int]) -> Wishes:
    """What a request's parameters ask for: `confidence`, `iou`, `classes`, `max_detections`,
    `track`; and the outputs that it names.

    Args:
        class_ids: the classes' numbers by their names.

    Raises:
        ParameterError: a parameter is out of its range.
    """
    outputs = tuple(output.name for output in request.outputs or []) or None
    wanted = parameter(request, "track")
    return Wishes(
        number(request, "confidence", defaults.confidence, 0, 1),
        number(request, "iou", defaults.iou, 0, 1),
        _classes(parameter(request, "classes"), class_ids),
        integer(request, "max_detections", defaults.max_detections, 1, MAX_DETECTIONS),
        (defaults.track if wanted is None else flag(request, "track"))
        or (outputs is not None and "track_ids" in outputs),
        outputs,
    )


def _classes(value: Any, class_ids: Mapping[str, int]) -> tuple[int, ...] | None:
    """Numbers or names: a list, or its text, with or without brackets."""
    if value is None:
        return None
    wanted: Sequence[Any] = value if isinstance(value, list) else [value]
    if isinstance(value, str):
        try:
            wanted = json.loads(value)
        except ValueError:
            wanted = [part.strip() for part in value.split(",")]
        wanted = wanted if isinstance(wanted, list) else [wanted]
    found = []
    for each in wanted:
        if isinstance(each, str) and each in class_ids:
            found.append(class_ids[each])
        elif isinstance(each, int | str) and not isinstance(each, bool) and str(each).isdecimal():
            found.append(min(int(each), 2**31 - 1))
        else:
            raise ParameterError(
                f"Parameter 'classes' must list numbers or names of classes; {shown(each)} is none."
            )
    return tuple(found)
