"""Tensors as bytes behind the JSON of an HTTP body: the V2 binary data extension.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
A body is JSON, then the tensors' bytes in the order of the JSON; the header says where the JSON
ends. Neither direction makes Python lists of numbers, and nothing of it reaches a runtime.
"""

from dataclasses import dataclass
from typing import Any

from mlserver.types import InferenceResponse, TensorData

from ..errors import BadRequestError
from ..tensors.json_codec import BINARY_SIZE, datatype
from ..tensors.json_responses import written
from ..tensors.raw import ELSEWHERE, Buffer, raw_parts
from ..tensors.steps import Steps

HEADER = "Inference-Header-Content-Length"
MEDIA_TYPE = "application/octet-stream"
# The parameters of a wanted output, and of a request that wants them all.
WANTED, ALL_WANTED = "binary_data", "binary_data_output"


def split_body(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """A body's JSON, and a view of the bytes behind it.

    Args:
        header: the value of `Inference-Header-Content-Length`, None where it is not given.

    Raises:
        BadRequestError: that is no length of a part of the body.
    """
    if header is None:
        return body, memoryview(b"")
    text = header.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadRequestError(
            f"{HEADER} must be the length of the body's JSON in bytes, not '{text[:30]}'."
        )
    length = int(text)
    if length > len(body):
        raise BadRequestError(f"{HEADER} is {length}, but the body has only {len(body)} bytes.")
    if length == 0:
        raise BadRequestError(f"{HEADER} is 0; a body begins with the JSON of its request.")
    return body[:length], memoryview(body)[length:]


def attach_tensors(parsed: dict[str, Any], tail: memoryview | None) -> None:
    """Give each input of a parsed request that says so its share of the bytes, as a view.

    `json_codec.decode_request` reads the views once it has checked shape and datatype.

    Args:
        tail: None where none can follow a request.

    Raises:
        BadRequestError: the inputs claim more bytes than there are, or leave some.
    """
    at = 0
    inputs = parsed.get("inputs")
    for tensor in inputs if isinstance(inputs, list) else []:
        size = _pop(tensor, BINARY_SIZE)
        if size is None:
            continue
        name = tensor.get("name")
        if tail is None:
            raise BadRequestError(
                f"Input '{name}' has '{BINARY_SIZE}', but no bytes can follow a request that is "
                "one of many; send its data in the JSON."
            )
        if type(size) is not int or size < 0:
            raise BadRequestError(
                f"Parameter '{BINARY_SIZE}' of input '{name}' must be a number of bytes, not "
                f"{str(size)[:30]}."
            )
        if "data" in tensor:
            raise BadRequestError(
                f"Input '{name}' has both 'data' and '{BINARY_SIZE}'; send its data once."
            )
        if size > len(tail) - at:
            raise BadRequestError(
                f"Input '{name}' announces {size} bytes of binary data, but {len(tail) - at} are "
                f"left behind the JSON (as {HEADER} has it)."
            )
        # An instance, not the bare view: pydantic leaves it alone.
        tensor["data"] = TensorData.model_construct(root=tail[at : at + size])
        at += size
    if tail is not None and at < len(tail):
        raise BadRequestError(
            f"{len(tail) - at} bytes behind the JSON belong to no input; '{BINARY_SIZE}' says how "
            "many each input has."
        )


@dataclass(frozen=True, slots=True)
class BinaryOutputs:
    """Which outputs a client wants as bytes."""

    all: bool
    named: dict[str, bool]

    @classmethod
    def take(cls, parsed: dict[str, Any]) -> "BinaryOutputs":
        """Take what a parsed request says of it out of the request.

        Raises:
            BadRequestError: it is not true or false.
        """
        outputs = parsed.get("outputs")
        return cls(
            all=bool(_flag(_pop(parsed, ALL_WANTED), ALL_WANTED)),
            named={
                str(output.get("name")): wanted
                for output in (outputs if isinstance(outputs, list) else [])
                if (wanted := _flag(_pop(output, WANTED), WANTED)) is not None
            },
        )

    @property
    def any(self) -> bool:
        """Whether any output is wanted as bytes."""
        return self.all or True in self.named.values()

    def written(self, response: InferenceResponse) -> Steps[tuple[list[Buffer], int]]:
        """The body of a response, in parts, and the length of its JSON, which bytes may follow."""
        sizes: dict[int, int] = {}
        tail: list[Buffer] = []
        for index, output in enumerate(response.outputs):
            if self.named.get(output.name, self.all):
                data = output.data.root if isinstance(output.data, TensorData) else output.data
                if data is ELSEWHERE:
                    continue
                raw = yield from raw_parts(datatype(output), data)
                sizes[index] = sum(map(len, raw))
                tail += raw
        head = yield from written(response, sizes)
        return [*head, *tail], sum(map(len, head))


def _pop(owner: Any, name: str) -> Any:
    """Take a parameter of a tensor or request, which may be anything that JSON can be."""
    parameters = owner.get("parameters") if isinstance(owner, dict) else None
    return parameters.pop(name, None) if isinstance(parameters, dict) else None


def _flag(value: Any, name: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise BadRequestError(f"Parameter '{name}' must be true or false, not {str(value)[:30]!r}.")
    return value
