"""The part of a region that a tensor is read from or written to, as its parameters name it.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_shared_memory.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    Parameters,
    RequestOutput,
    ResponseOutput,
    TensorData,
)
from pydantic import PrivateAttr

from ..errors import BadRequestError, TooLargeError
from ..models import messages
from ..settings import LimitSettings
from ..tensors.json_codec import datatype
from ..tensors.raw import ELSEWHERE, raw_parts
from ..tensors.steps import Steps
from .region import Region
from .regions import CallerRegions, Own

REGION, OFFSET, SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"
OURS = {REGION, OFFSET, SIZE}
# Tensors that are read or written in a step.
TENSORS = 64

# Places of outputs whose description is kept.
KEPT = 1024


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a region. It holds the region: who unregisters it takes it from later requests."""

    region: Region
    offset: int
    size: int

    @classmethod
    def take(cls, own: CallerRegions, what: str, parameters: dict[str, Any]) -> Span:
        """Take what names it out of a tensor's parameters, of which REGION is one.

        Args:
            what: how an error calls the tensor.

        Raises:
            BadRequestError: there is no such part.
            NoSuchRegionError
        """
        name = parameters.pop(REGION)
        offset = parameters.pop(OFFSET, 0)
        size = parameters.pop(SIZE, None)
        if not isinstance(name, str):
            raise BadRequestError(f"Parameter '{REGION}' of {what} must be a region's name.")
        for parameter, value in ((OFFSET, offset), (SIZE, size)):
            if type(value) is not int or value < 0:
                raise BadRequestError(
                    f"Parameter '{parameter}' of {what} must be a number of bytes, 0 or more."
                )
        assert size is not None
        region = own.find(name)
        region.check(offset, size)
        return cls(region, offset, size)

    def read(self) -> Steps[memoryview]:
        """A copy of what is there, read-only.

        Raises:
            BadRequestError: it is not there any more.
        """
        return (yield from self.region.read(self.offset, self.size))

    def written(self, output: ResponseOutput) -> Steps[ResponseOutput]:
        """Write an output there; the output that says so, and has no data.

        Raises:
            BadRequestError: it does not fit, or there is no such place any more.
        """
        data = output.data.root if isinstance(output.data, TensorData) else output.data
        parts = yield from raw_parts(datatype(output), data)
        size = sum(map(len, parts))
        if size > self.size:
            raise BadRequestError(
                f"Output '{output.name}' has {size} bytes, but its part of region "
                f"'{self.region.name}' only {self.size}; give it a larger one."
            )
        yield from self.region.write(self.offset, parts)
        found = messages.output(output.name, datatype(output), output.shape, ELSEWHERE)
        said = output.parameters
        kind = None if said is None else said.content_type
        found.parameters = _told(self.region.name, self.offset, size, kind)
        others = {} if said is None else said.model_extra or {}
        if others := {name: value for name, value in others.items() if name not in OURS}:
            found.parameters = Parameters(**others, **_values(found.parameters))
        return found


@lru_cache(KEPT)
def _told(region: str, offset: int, size: int, kind: str | None) -> Parameters:
    """An output's parameters: the same again and again."""
    where: dict[str, Any] = {REGION: region, SIZE: size} | ({OFFSET: offset} if offset else {})
    return Parameters(content_type=kind, **where)


def _values(parameters: Parameters) -> dict[str, Any]:
    return {"content_type": parameters.content_type, **(parameters.model_extra or {})}


class RegionOutput(RequestOutput):
    """A wanted output that is to be written to a region. Models see what they would see without."""

    _span: Span = PrivateAttr()

    @classmethod
    def to(cls, span: Span, name: str, parameters: Parameters | None) -> RegionOutput:
        found = cls.model_construct(name=name, parameters=parameters)
        found._span = span
        return found


def in_regions(own: Own, outputs: Sequence[RequestOutput]) -> list[RequestOutput]:
    """A request's outputs, those that are wanted in a region as RegionOutput.

    Raises:
        MLServerError: there is no such region, or none may be used.
    """
    found: list[RequestOutput] = []
    for output in outputs:
        given = output.parameters and output.parameters.model_extra
        if given and REGION in given:
            span = Span.take(own(), f"output '{output.name}'", given)
            output = RegionOutput.to(span, output.name, output.parameters if given else None)
        found.append(output)
    return found


def spans_of(request: InferenceRequest) -> dict[str, Span]:
    """Where the outputs that a request names are to be written, by their names."""
    return {
        output.name: output._span
        for output in request.outputs or ()
        if isinstance(output, RegionOutput)
    }


def written(response: InferenceResponse, spans: Mapping[str, Span]) -> Steps[InferenceResponse]:
    """A copy of a response, its outputs of these names written to where they are wanted.

    Raises:
        BadRequestError: one does not fit there.
    """
    outputs = []
    for index, output in enumerate(response.outputs):
        span = spans.get(output.name)
        outputs.append(output if span is None else (yield from span.written(output)))
        if index % TENSORS == TENSORS - 1:
            yield
    return messages.response(
        response.model_name, response.model_version, response.id, outputs, response.parameters
    )


def check_bytes(limits: LimitSettings, count: int) -> None:
    """
    Args:
        count: bytes of a request's inputs in regions, all together.

    Raises:
        TooLargeError: they are more than a body may be.
    """
    if count > limits.request_bytes:
        raise TooLargeError(
            f"The request's inputs in shared memory have more than {limits.request_bytes} bytes; "
            "send several requests."
        )
