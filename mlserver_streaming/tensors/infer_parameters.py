"""A value in gRPC's InferParameter, and back; every parameter of a message is one.

Triton's has two kinds more (`double_param`, `uint64_param`), which MLServer's protobuf carries as
unknown fields.
"""

import struct
from typing import Any

import numpy as np
import orjson
from google.protobuf.unknown_fields import UnknownFieldSet
from mlserver.grpc import dataplane_pb2 as pb

from .wire_format import FIXED64, VARINT, tag, varint

DOUBLE_PARAM, UINT64_PARAM = 4, 5
INT64 = range(-(2**63), 2**63)
UINT64 = range(2**64)


def read_value(parameter: pb.InferParameter) -> Any:
    """The value: bool, int, float or str; None where there is none."""
    kind = parameter.WhichOneof("parameter_choice")
    if kind:
        return getattr(parameter, kind)
    for field in UnknownFieldSet(parameter):  # type: ignore[attr-defined]
        if field.field_number == DOUBLE_PARAM and field.wire_type == FIXED64:
            return float(struct.unpack("<d", struct.pack("<Q", field.data))[0])
        if field.field_number == UINT64_PARAM and field.wire_type == VARINT:
            return int(field.data)
    return None


def write_value(slot: pb.InferParameter, value: Any, *, doubles: bool = True) -> None:
    """Write a value; what has no kind of its own is written as text.

    Args:
        doubles: whether who reads it knows Triton's `double_param`.
    """
    if isinstance(value, str):
        slot.string_param = value
    elif isinstance(value, bool | np.bool_):
        slot.bool_param = bool(value)
    elif isinstance(value, int | np.integer) and int(value) in INT64:
        slot.int64_param = int(value)
    elif isinstance(value, int | np.integer) and int(value) in UINT64:
        slot.MergeFromString(tag(UINT64_PARAM, VARINT) + varint(int(value)))
    elif isinstance(value, float | np.floating) and doubles:
        slot.MergeFromString(tag(DOUBLE_PARAM, FIXED64) + struct.pack("<d", float(value)))
    elif isinstance(value, float | np.floating):
        slot.string_param = str(float(value))
    else:
        slot.string_param = _as_text(value)


def _as_text(value: object) -> str:
    """As JSON, or as Python writes it."""
    try:
        return orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError:  # an integer past 64 bits, keys that are no text
        return str(value)
