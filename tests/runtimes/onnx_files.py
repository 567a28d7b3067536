"""Small ONNX files for tests: detectors that answer what they are told, and files that are none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}


def constant_detector(
    path: Path,
    outputs: Mapping[str, np.ndarray],
    *,
    shape: Sequence[int | str] = (1, 3, 64, 64),
    dtype: type = np.float32,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A file that answers every image with `outputs` (each for a batch of one).

    The input is used, so that onnxruntime keeps it: its mean times zero is added.
    """
    batch_open = not isinstance(shape[0], int)
    nodes, weights = [], []
    axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    weights.append(axes)
    nodes.append(helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0))
    weights.append(numpy_helper.from_array(np.array(0, dtype), "zero"))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    infos = []
    for name, value in outputs.items():
        elem = helper.np_dtype_to_tensor_dtype(value.dtype)
        weights.append(numpy_helper.from_array(value, f"{name}_value"))
        weights.append(
            numpy_helper.from_array(np.array([-1] + [1] * (value.ndim - 1)), f"{name}_form")
        )
        nodes += [
            helper.make_node("Cast", ["nothing"], [f"{name}_cast"], to=elem),
            helper.make_node("Reshape", [f"{name}_cast", f"{name}_form"], [f"{name}_each"]),
            helper.make_node("Add", [f"{name}_each", f"{name}_value"], [name]),
        ]
        first = "batch" if batch_open else shape[0]
        infos.append(helper.make_tensor_value_info(name, elem, [first, *value.shape[1:]]))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TYPES[dtype], list(shape))],
        infos,
        weights,
    )
    return _saved(graph, path, metadata)


def brightness_detector(path: Path, *, batch: int | str = "batch") -> Path:
    """A file of layout rows with one detection, whose score is the mean of the image."""
    axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    form = numpy_helper.from_array(np.array([-1, 1, 1]), "form")
    mask = numpy_helper.from_array(np.array([[[0, 0, 0, 0, 1, 0]]], np.float32), "mask")
    box = numpy_helper.from_array(np.array([[[8, 8, 40, 40, 0, 1]]], np.float32), "box")
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "form"], ["each"]),
        helper.make_node("Mul", ["each", "mask"], ["score"]),
        helper.make_node("Add", ["score", "box"], ["output0"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 64, 64])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, 1, 6])
    graph = helper.make_graph(nodes, "brightness", [images], [output], [axes, form, mask, box])
    return _saved(graph, path, None)


def string_model(path: Path) -> Path:
    """A file whose input is text."""
    text = helper.make_tensor_value_info("text", TensorProto.STRING, [1])
    same = helper.make_tensor_value_info("same", TensorProto.STRING, [1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["text"], ["same"])], "text", [text], [same]
    )
    return _saved(graph, path, None)


def _saved(graph: Any, path: Path, metadata: Mapping[str, str] | None) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata:
        helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
