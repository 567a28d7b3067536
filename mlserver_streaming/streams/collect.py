"""Many responses into one: what a unary call gets from a model that streams."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput, TensorData

from ..errors import TooLargeError, UnsupportedError, failure_of
from ..settings import LimitSettings
from ..tensors.steps import Steps
from .turns import TURN_SECONDS, in_turns

# What an element counts that is a number in a list.
NUMBER_BYTES = 8


async def collect(
    model: MLModel, responses: AsyncIterator[InferenceResponse], limits: LimitSettings
) -> InferenceResponse:
    """One response with every output's tensors joined along their first axis, in order.

    A model that never waits does not keep the loop meanwhile.

    Raises:
        RequestFailedError: one of the responses says that its request failed.
        UnsupportedError: tensors of one output do not fit together.
        TooLargeError: they are more than `limits` let one call collect.
    """
    parts: dict[str, Joined] = {}
    whole: InferenceResponse | None = None
    count = size = 0
    turn_over = monotonic() + TURN_SECONDS
    async for response in responses:
        if error := failure_of(response):
            raise error
        count += 1
        if whole is None:
            # It always fits: it was there before anybody collected. Often it is the only one.
            whole = response
            continue
        if count == 2:
            size += _add(whole, parts)
        size += _add(response, parts)
        if count > limits.collected_responses or size > limits.collected_bytes:
            raise TooLargeError(
                f"The answer is more than {limits.collected_responses} responses or "
                f"{limits.collected_bytes} bytes; ask for it as a stream."
            )
        if monotonic() >= turn_over:
            await asyncio.sleep(0)
            turn_over = monotonic() + TURN_SECONDS
    if whole is None:
        return InferenceResponse.model_construct(
            model_name=model.name, model_version=model.version, outputs=[]
        )
    if count > 1:
        whole.outputs = [await in_turns(joined.output()) for joined in parts.values()]
        # What was said of each response (an index, a time) is not true of them all.
        whole.parameters = None
    return whole


def _add(response: InferenceResponse, parts: "dict[str, Joined]") -> int:
    """Join a response's outputs to those before; about how many bytes they have."""
    size = 0
    for output in response.outputs:
        joined = parts.get(output.name)
        if joined is None:
            joined = parts[output.name] = Joined(output)
        size += joined.add(output)
    return size


class Joined:
    """One output's tensors, joined as they come."""

    def __init__(self, first: ResponseOutput):
        self._first = first
        self._shape = list(first.shape) or [1]
        self._rows = 0
        self._tensors = 0
        # Arrays only, or all elements.
        self._arrays: list[np.ndarray] | None = []
        self._elements: list[Any] = []

    def add(self, output: ResponseOutput) -> int:
        """Take the next tensor; about how many bytes it has.

        Raises:
            UnsupportedError: it does not fit to those before it.
        """
        first, shape = self._first, list(output.shape) or [1]
        if output.datatype != first.datatype or shape[1:] != self._shape[1:]:
            raise UnsupportedError(
                f"The responses' '{first.name}' tensors do not fit into one; ask for them as a "
                "stream."
            )
        self._rows += shape[0]
        self._tensors += 1
        data = output.data.root if isinstance(output.data, TensorData) else output.data
        if isinstance(data, np.ndarray):
            if self._arrays is not None:
                self._arrays.append(data.reshape(shape))
            else:
                self._elements += data.tolist()
            return data.nbytes
        if self._arrays is not None:
            self._elements = [element for array in self._arrays for element in array.tolist()]
            self._arrays = None
        elements = data if isinstance(data, list | tuple) else [data]
        self._elements += elements
        return sum(
            len(each) if isinstance(each, str | bytes) else NUMBER_BYTES for each in elements
        )

    def output(self) -> Steps[ResponseOutput]:
        """All of them as one."""
        if self._tensors == 1:
            return self._first
        data: Any = self._elements
        if self._arrays is not None:
            data = np.empty([self._rows, *self._shape[1:]], np.result_type(*self._arrays))
            at = 0
            for array in self._arrays:
                data[at : at + len(array)] = array
                at += len(array)
                yield
        return ResponseOutput.model_construct(
            name=self._first.name,
            shape=[self._rows, *self._shape[1:]],
            datatype=self._first.datatype,
            parameters=self._first.parameters,
            data=TensorData.model_construct(root=data),
        )
