"""Protobuf's wire format, without a schema."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.grpc import dataplane_pb2 as pb

from mlserver_streaming.tensors.wire_format import FieldsError, fields, tag, varint


@pytest.mark.parametrize(
    "message",
    [
        tag(7, 2) + varint(10) + b"short",
        tag(7, 2) + varint(2**63) + b"short",
        tag(7, 2),
        tag(98, 1) + b"7" * 7,
        tag(97, 5) + b"3" * 3,
        tag(1, 3),  # a group: proto2 only
        tag(1, 6),
        b"\x80",
        b"\xff" * 11,
    ],
)
def test_a_message_that_is_cut_off_or_malformed_is_refused(message: bytes) -> None:
    with pytest.raises(FieldsError):
        list(fields(message))


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_written_as_protobuf_writes_it(value: int) -> None:
    parameter = pb.InferParameter(int64_param=value if value < 2**63 else value - 2**64)
    assert tag(2, 0) + varint(value) == parameter.SerializeToString()
