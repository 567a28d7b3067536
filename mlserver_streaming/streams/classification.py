"""The most likely classes of an output in its place: Triton's classification extension.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_classification.html
"""

from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.types import Datatype, RequestOutput, ResponseOutput, TensorData

from ..errors import BadRequestError, shown
from ..tensors.json_codec import datatype
from ..tensors.raw import BF16, BYTES, DTYPES
from ..tensors.steps import Steps
from .model_config import has_batch_axis

# The parameter of a wanted output: how many classes.
CLASSES = "classification"
# In all rows together.
MOST_CLASSES = 65_536
# What a step looks through of numbers, and writes of classes.
NUMBERS, WRITTEN = 65_536, 256
# Of an output in the model's settings: a parameter with the name of each class, in their order.
LABELS = "labels"


def classes_of(output: RequestOutput) -> int | None:
    """How many classes a request wants in place of an output; None where it wants the output.

    Raises:
        BadRequestError: that is no number of classes.
    """
    parameters = output.parameters
    found = (parameters.model_extra or {}).get(CLASSES) if parameters is not None else None
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= MOST_CLASSES:
        raise BadRequestError(
            f"Parameter '{CLASSES}' of output '{shown(output.name)}' must be a number of classes "
            f"from 1 to {MOST_CLASSES}, not {shown(str(found))}."
        )
    return found


def classified(output: ResponseOutput, count: int, model: MLModel) -> Steps[ResponseOutput]:
    """An output's largest values, the largest first, each as "value:index" or, where the class has
    a name, "value:index:name"; of each row where the model has a batch axis.

    Raises:
        BadRequestError: it has no numbers, or they would be too many.
    """
    kind = datatype(output)
    if kind in (BYTES, BF16):
        raise BadRequestError(
            f"Output '{output.name}' of model '{model.name}' is {kind}, which has no classes."
        )
    data: Any = output.data.root if isinstance(output.data, TensorData) else output.data
    batched = has_batch_axis(model) and len(output.shape) > 1
    numbers = np.asarray(data, DTYPES[kind])
    rows = output.shape[0] if batched else 1
    values = numbers.reshape(rows, numbers.size // max(1, rows))
    count = min(count, values.shape[1])
    if rows * count > MOST_CLASSES:
        raise BadRequestError(
            f"Output '{output.name}' has {rows} rows, so '{CLASSES}' may be at most "
            f"{MOST_CLASSES // rows}."
        )
    labels = labels_of(model, output.name)
    found: list[str] = []
    # Of empty rows there may be any number.
    for row in values if count else ():
        indexes = yield from _largest(row, count)
        largest = zip(row[indexes].tolist(), indexes.tolist(), strict=True)
        for value, index in largest:
            found.append(_written(value, index, labels))
            if not len(found) % WRITTEN:
                yield
    shape = [rows, count] if batched else [count]
    return ResponseOutput(
        name=output.name, datatype=Datatype.BYTES, shape=shape, data=TensorData(found)
    )


def _largest(row: Any, count: int) -> Steps[Any]:
    """Where a row's largest values are; of equal ones, the first. What is no number is least."""
    indexes, keys = np.empty(0, np.intp), _falling(row[:0])
    for start in range(0, row.size, NUMBERS):
        if start:
            yield
        added = _falling(row[start : start + NUMBERS])
        where = np.arange(added.size)
        if keys.size == count:
            where = np.flatnonzero(added < keys[-1])
        if where.size:
            keys = np.concatenate((keys, added[where]))
            order = np.argsort(keys, kind="stable")[:count]
            keys = keys[order]
            indexes = np.concatenate((indexes, where + start))[order]
    return indexes


def _falling(values: Any) -> Any:
    """Numbers that are the smaller the larger these are. No integer loses a digit."""
    if values.dtype.kind != "f":
        return ~values
    return np.where(np.isnan(values), np.inf, -values)


def labels_of(model: MLModel, output: str) -> list[str]:
    """The names of the classes in an output, as the model's settings list them."""
    for tensor in model.outputs or []:
        if tensor.name == output and tensor.parameters is not None:
            found = (tensor.parameters.model_extra or {}).get(LABELS)
            return [str(each) for each in found] if isinstance(found, list) else []
    return []


def _written(value: Any, index: int, labels: list[str]) -> str:
    number = f"{value:f}" if isinstance(value, float) else f"{int(value)}"
    return f"{number}:{index}:{labels[index]}" if index < len(labels) else f"{number}:{index}"
