"""An ONNX file as a detector: what its input is, how its outputs are laid out, and how it is run.

Knows onnxruntime and tensors; nothing of requests.
"""

import ast
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlserver_streaming.extras import MissingExtraError, needed_by
from mlserver_streaming.models.errors import MLServerError
from mlserver_streaming.vision.layouts import Layout, LayoutError, find_layout

DEFAULT_SIDE = 640
ERROR_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
DEFAULT_STRIDE = 32
INPUT_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
Outputs = dict[str, NDArray[Any]]


class ModelFileError(MLServerError):
    """The file is not a detector that can be served; the text says why."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path.name} cannot be served as a detector: {reason}", 500)


@dataclass(frozen=True, slots=True)
class OnnxSettings:
    """How a file is to be run.

    Attributes:
        threads: of onnxruntime, for each batch.
        providers: of onnxruntime, the most wanted first.
        layout: of the outputs; None tells it by their shapes.
        image_size: side of the input in pixels, where the file leaves it open.
        labels: names of the classes, where the file has none.
    """

    threads: int = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    layout: Layout | None = None
    image_size: int | None = None
    labels: tuple[str, ...] | None = None


class OnnxDetector:
    """A loaded file.

    Attributes:
        height, width: of the input; of JPEGs' input where `any_size`.
        any_size: whether the input may have another size, a multiple of `stride`.
        batch: images in a batch; None is any number.
        labels: names of the classes, by number; empty where nobody says.
        outputs: shapes of the raw outputs for one image.
    """

    def __init__(self, path: Path, settings: OnnxSettings | None = None):
        """
        Raises:
            ModelFileError: it is not ONNX, or not a detector.
            MLServerError: onnxruntime is not installed.
        """
        self._path = path
        self._settings = settings or OnnxSettings()
        self._session: Any = self._open()
        self._read_input()
        self._read_metadata()
        self._probe()

    def run(self, images: Sequence[NDArray[np.float32]]) -> list[Outputs]:
        """The outputs of each image, each with a batch of one.

        Args:
            images: float32 [1, 3, height, width], all of one size.
        """
        size = self.batch or len(images)
        results: list[Outputs] = []
        for start in range(0, len(images), size):
            part = list(images[start : start + size])
            filled = part + [np.zeros_like(part[0])] * (size - len(part) if self.batch else 0)
            tensor = np.concatenate(filled) if len(filled) > 1 else filled[0]
            values = self._session.run(self._names, {self._input: tensor.astype(self._dtype)})
            outputs = dict(zip(self._names, values, strict=True))
            results += [
                {name: value[at : at + 1] for name, value in outputs.items()}
                for at in range(len(part))
            ]
        return results

    def __str__(self) -> str:
        size = "any size" if self.any_size else f"{self.width}x{self.height}"
        return f"{self._path.name}: {self.layout.value}, {size}, {len(self.labels)} named classes"

    def _open(self) -> Any:
        try:
            with needed_by("The detector", "video"):
                import onnxruntime
        except MissingExtraError as error:
            raise MLServerError(str(error), 501) from error
        available = onnxruntime.get_available_providers()
        missing = [name for name in self._settings.providers if name not in available]
        if missing:
            raise ModelFileError(
                self._path, f"this onnxruntime has no {missing[0]}; it has {', '.join(available)}."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._settings.threads
        options.inter_op_num_threads = 1
        # Threads that wait in a loop take the cores from those that decode the next frame.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what fails is raised, and told in one line
        try:
            return onnxruntime.InferenceSession(
                str(self._path), options, providers=list(self._settings.providers)
            )
        except Exception as error:  # its exceptions have no common base of their own
            logging.getLogger(__name__).debug("onnxruntime on %s", self._path, exc_info=error)
            raise ModelFileError(
                self._path, f"it is not a whole ONNX model ({_sentence(error)})."
            ) from error

    def _read_input(self) -> None:
        inputs = self._session.get_inputs()
        seen = ", ".join(f"'{each.name}' {each.type} {each.shape}" for each in inputs)
        dtype = INPUT_DTYPES.get(inputs[0].type) if len(inputs) == 1 else None
        shape = list(inputs[0].shape) if inputs else []
        if dtype is None or len(shape) != 4 or (_fixed(shape[1]) and shape[1] != 3):
            raise ModelFileError(
                self._path,
                "it must have one input, float or float16 of shape [n, 3, height, width], but "
                f"has {seen or 'none'}.",
            )
        self._input, self._dtype = inputs[0].name, np.dtype(dtype)
        self._names = [each.name for each in self._session.get_outputs()]
        self.batch = shape[0] if _fixed(shape[0]) else None
        self.any_size = not (_fixed(shape[2]) and _fixed(shape[3]))
        self._sides = shape[2:]

    def _read_metadata(self) -> None:
        """Names, stride and size as Ultralytics writes them into the file."""
        found = self._session.get_modelmeta().custom_metadata_map
        size = _literal(found.get("imgsz"))
        sides = size if isinstance(size, list | tuple) and len(size) == 2 else [DEFAULT_SIDE] * 2
        if self._settings.image_size:
            sides = [self._settings.image_size] * 2
        self.height, self.width = (
            own if _fixed(own) else int(said) for own, said in zip(self._sides, sides, strict=True)
        )
        stride = _literal(found.get("stride"))
        self.stride = int(stride) if isinstance(stride, int | float) else DEFAULT_STRIDE
        names = _literal(found.get("names"))
        if isinstance(names, list | tuple):
            names = dict(enumerate(names))
        if self._settings.labels is not None:
            names = dict(enumerate(self._settings.labels))
        self.labels: tuple[str, ...] = ()
        if isinstance(names, Mapping) and names and all(isinstance(n, int) for n in names):
            self.labels = tuple(str(names.get(n, n)) for n in range(max(names) + 1))

    def _probe(self) -> None:
        """Run it once: its outputs show their shapes, and the first frame is no slower."""
        blank = np.full((1, 3, self.height, self.width), 0.5, np.float32)
        try:
            (outputs,) = self.run([blank])
        except Exception as error:  # as in _open
            raise ModelFileError(
                self._path,
                f"a blank image of {self.width}x{self.height} fails ({_sentence(error)}).",
            ) from error
        try:
            self.layout = find_layout(
                {name: np.asarray(value) for name, value in outputs.items()},
                self.height,
                self.width,
                len(self.labels) or None,
                self._settings.layout,
            )
        except LayoutError as error:
            raise ModelFileError(self._path, str(error)) from error
        self.outputs = {name: (value.dtype, list(value.shape)) for name, value in outputs.items()}


def _fixed(side: object) -> bool:
    return isinstance(side, int) and side > 0


def _literal(text: str | None) -> Any:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError):
        return None


def _sentence(error: Exception) -> str:
    """onnxruntime's own words without its codes, in one line."""
    return ERROR_CODE.sub("", " ".join(str(error).split()))[:200].rstrip(". ")
