"""The parameters of gRPC messages to V2's, and back."""

from collections.abc import Mapping
from typing import Any

from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import Parameters
from pydantic import ValidationError

from ..errors import BadRequestError
from ..tensors.infer_parameters import read_value, write_value


def decode_parameters(parameters: Mapping[str, pb.InferParameter]) -> Parameters | None:
    """Parameters of every kind, Triton's `double_param` and `uint64_param` too."""
    return parameters_of({name: read_value(each) for name, each in parameters.items()})


def parameters_of(values: dict[str, Any]) -> Parameters | None:
    """Parameters of a message as V2 has them; None where there are none.

    Raises:
        BadRequestError: one has another type than MLServer gives its name.
    """
    if not values:
        return None
    try:
        return Parameters(**values)
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        raise BadRequestError(f"Parameter '{field}' has the wrong type.") from error


def encode_parameters(target: Mapping[str, pb.InferParameter], parameters: Parameters) -> None:
    """Write parameters into a message's map; headers travel as metadata, not here."""
    values = dict(parameters.model_extra or {})
    if parameters.content_type is not None:
        values["content_type"] = parameters.content_type
    for name, value in values.items():
        if value is not None:
            write_value(target[name], value)
