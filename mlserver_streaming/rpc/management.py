"""Triton's calls about the service beside inference, over gRPC, on both ports: MLServer's protobuf
lacks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.json_format import ParseDict
from mlserver.grpc import dataplane_pb2 as pb

from ..errors import BadRequestError
from ..tensors.infer_parameters import read_value, write_value
from .errors import answers_errors
from .triton.messages import CLASSES, DATA_TYPES

if TYPE_CHECKING:  # the generic exists in grpc's stubs only
    from ..management.calls import ManagementCalls

    Context = grpc.aio.ServicerContext[Any, Any]

# The messages of each call: what it is asked with, what it answers.
METHODS = {
    "ModelConfig": ("ModelRequest", "ModelConfigResponse"),
    "ModelStatistics": ("ModelRequest", "ModelStatisticsResponse"),
    "LogSettings": ("LogSettings", "LogSettings"),
    "TraceSetting": ("TraceSettings", "TraceSettings"),
}


class ManagementServicer:
    """The calls by their names, as Triton has them."""

    def __init__(self, calls: ManagementCalls):
        self._calls = calls

    @answers_errors
    async def ModelConfig(self, request: Any, context: Context) -> Any:
        config = await self._calls.config(request.name, request.version)
        return ParseDict({"config": _numbered(config)}, CLASSES["ModelConfigResponse"]())

    @answers_errors
    async def ModelStatistics(self, request: Any, context: Context) -> Any:
        found = await self._calls.statistics(request.name, request.version)
        return ParseDict(found, CLASSES["ModelStatisticsResponse"]())

    @answers_errors
    async def LogSettings(self, request: Any, context: Context) -> Any:
        found = self._calls.log_settings(values_of(request.settings))
        return CLASSES["LogSettings"](settings=entries(found))

    @answers_errors
    async def TraceSetting(self, request: Any, context: Context) -> Any:
        # A setting without a value is one that goes back to what it was.
        changes = {entry.key: list(entry.value.value) or None for entry in request.settings}
        changes = {
            name: value[0] if value and name != "trace_level" and len(value) == 1 else value
            for name, value in changes.items()
        }
        found = await self._calls.trace_settings(changes, request.model_name)
        settings = [
            {"key": name, "value": {"value": value if isinstance(value, list) else [value]}}
            for name, value in found.items()
        ]
        return CLASSES["TraceSettings"](settings=settings)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        return {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, name),
                request_deserializer=CLASSES[asked].FromString,
                response_serializer=CLASSES[answered].SerializeToString,
            )
            for name, (asked, answered) in METHODS.items()
        }


def values_of(entries: Iterable[Any]) -> dict[str, Any]:
    """A map of settings or parameters; None for one without a value.

    Raises:
        BadRequestError: one cannot be read.
    """
    try:
        return {
            entry.key: read_value(pb.InferParameter.FromString(entry.value)) for entry in entries
        }
    except Exception as error:  # protobuf's own, which has no public name
        raise BadRequestError("The settings of the message cannot be read.") from error


def entries(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A map of settings, as the message has it."""
    found = []
    for name, value in settings.items():
        slot = pb.InferParameter()
        write_value(slot, value)
        found.append({"key": name, "value": slot.SerializeToString()})
    return found


def _numbered(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the datatypes' numbers for their names."""
    numbers = {f"TYPE_{name}": number for name, number in DATA_TYPES.items()}
    numbers["TYPE_STRING"] = DATA_TYPES["BYTES"]

    def tensors(field: str) -> list[dict[str, Any]]:
        return [{**each, "data_type": numbers[each["data_type"]]} for each in config[field]]

    return {**config, "input": tensors("input"), "output": tensors("output")}
