"""Many responses into one: what a unary call gets from a model that streams."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput, TensorData

from ..errors import UnsupportedError, failure_of


async def collect(model: MLModel, responses: AsyncIterator[InferenceResponse]) -> InferenceResponse:
    """One response with every output's tensors joined along their first axis, in order.

    Raises:
        RequestFailedError: one of the responses says that its request failed.
        UnsupportedError: tensors of one output do not fit together.
    """
    parts: dict[str, list[ResponseOutput]] = {}
    whole: InferenceResponse | None = None
    responses_seen = 0
    async for response in responses:
        if error := failure_of(response):
            raise error
        whole = whole or response
        responses_seen += 1
        for output in response.outputs:
            parts.setdefault(output.name, []).append(output)
    if whole is None:
        return InferenceResponse.model_construct(
            model_name=model.name, model_version=model.version, outputs=[]
        )
    whole.outputs = [_joined(outputs) for outputs in parts.values()]
    if whole.parameters is not None and responses_seen > 1:
        # What was said of each response (an index, a time) is not true of them all.
        whole.parameters = None
    return whole


def _joined(outputs: list[ResponseOutput]) -> ResponseOutput:
    first = outputs[0]
    if len(outputs) == 1:
        return first
    shapes = [list(output.shape) or [1] for output in outputs]
    if any(
        output.datatype != first.datatype or shape[1:] != shapes[0][1:]
        for output, shape in zip(outputs, shapes, strict=True)
    ):
        raise UnsupportedError(
            f"The responses' '{first.name}' tensors do not fit into one; ask for them as a stream."
        )
    rows = [_root(output) for output in outputs]
    data: Any
    if all(isinstance(row, np.ndarray) for row in rows):
        data = np.concatenate([row.reshape(shape) for row, shape in zip(rows, shapes, strict=True)])
    else:
        data = [element for row in rows for element in _as_list(row)]
    return ResponseOutput.model_construct(
        name=first.name,
        shape=[sum(shape[0] for shape in shapes), *shapes[0][1:]],
        datatype=first.datatype,
        parameters=first.parameters,
        data=TensorData.model_construct(root=data),
    )


def _root(output: ResponseOutput) -> Any:
    return output.data.root if isinstance(output.data, TensorData) else output.data


def _as_list(data: Any) -> list[Any]:
    if isinstance(data, np.ndarray):
        return data.tolist()  # type: ignore[no-any-return]
    return list(data) if isinstance(data, list | tuple) else [data]
