"""One response of a run: what is the same for all who get it, whatever their request's id."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from ..tensors.json_codec import CACHE

SEQUENCE_ID = "sequence_id"
# An array from here on is copied in a thread, where numpy holds nobody up: a millisecond.
LARGE_BYTES = 1024 * 1024
# What a number takes that a list holds.
NUMBER_BYTES = 32


class Recorded:
    """A response without its id, unless it is kept for the one request that it answers.

    Attributes:
        id: None where each who gets it has one of his own.
        seconds: from the beginning of its stream.
        parameters: None where it has none.
        outputs: shared by all who get the response.
        size: bytes of its data, about.
        original: the model's own response, for the first who gets it.
    """

    __slots__ = (
        "id",
        "model_name",
        "model_version",
        "original",
        "outputs",
        "parameters",
        "seconds",
        "size",
    )

    def __init__(
        self,
        model_name: str,
        model_version: str | None,
        seconds: float,
        parameters: dict[str, Any] | None,
        outputs: list[ResponseOutput],
        size: int = 0,
        original: InferenceResponse | None = None,
        id: str | None = None,
    ) -> None:
        self.id = id
        self.model_name = model_name
        self.model_version = model_version
        self.seconds = seconds
        self.parameters = parameters
        self.outputs = outputs
        self.size = size
        self.original = original

    @classmethod
    async def taken_down(cls, response: InferenceResponse, seconds: float) -> Recorded:
        """As `of`; what takes long to copy is copied away from the event loop."""
        return cls._of(response, seconds, await set_apart(response))

    @classmethod
    def of(cls, response: InferenceResponse, seconds: float) -> Recorded:
        """Take a model's response down."""
        return cls._of(response, seconds, _set_apart(response))

    @classmethod
    def _of(cls, response: InferenceResponse, seconds: float, size: int) -> Recorded:
        said = None if response.parameters is None else said_by(response.parameters)
        name, version = response.model_name, response.model_version
        return cls(name, version, seconds, said, response.outputs, size, response)

    def response(
        self, request_id: str | None, way: str, shared: Parameters, sequence: Any = None
    ) -> InferenceResponse:
        """The response to a request.

        Args:
            way: how the response comes to who asked, its parameter `cache`.
            shared: the parameters of a response that has no others, which say just that.
            sequence: the id of the request's sequence, which may be another than the run's.
        """
        said = self.parameters
        if said is not None and SEQUENCE_ID in said:
            said = {name: value for name, value in said.items() if name != SEQUENCE_ID}
            if sequence is not None:
                said[SEQUENCE_ID] = sequence
        parameters = shared if said is None else Parameters(**{**said, CACHE: way})
        if (original := self.original) is not None:
            self.original = None
            if original.id != request_id:
                original.id = request_id
            original.parameters = parameters
            return original
        return InferenceResponse(
            model_name=self.model_name,
            model_version=self.model_version,
            id=request_id,
            parameters=parameters,
            outputs=self.outputs,
        )


async def set_apart(response: InferenceResponse) -> int:
    """Let a response be heard later, whatever its model does next; bytes of its data, about.

    What takes long to copy is copied away from the event loop.
    """
    for output in response.outputs:
        data = data_of(output)
        if isinstance(data, np.ndarray) and data.nbytes >= LARGE_BYTES:
            return await asyncio.to_thread(_set_apart, response)
    return _set_apart(response)


def _set_apart(response: InferenceResponse) -> int:
    outputs = response.outputs
    if any(isinstance(data_of(output), np.ndarray) for output in outputs):
        # A model may use its arrays again for the next response; these are heard later.
        response.outputs = [each.model_copy(deep=True) for each in outputs]
    return size_of(outputs)


def size_of(outputs: Sequence[ResponseOutput]) -> int:
    """Bytes of the data of tensors, about."""
    size = 0
    for output in outputs:
        data = data_of(output)
        if isinstance(data, list):
            for element in data:
                size += len(element) if isinstance(element, str | bytes) else NUMBER_BYTES
        elif isinstance(data, np.ndarray):
            size += data.nbytes
    return size


def said_by(parameters: Parameters | None) -> dict[str, Any] | None:
    """Parameters of a response or a tensor by their names; None where there are none."""
    if parameters is None:
        return None
    found = dict(parameters.model_extra or {})
    if parameters.content_type is not None:
        found["content_type"] = parameters.content_type
    if parameters.headers is not None:
        found["headers"] = parameters.headers
    return found or None


def data_of(output: ResponseOutput) -> Any:
    data = output.data
    return data.root if isinstance(data, TensorData) else data
