"""Finding large fields in a serialised message without copying them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.grpc import dataplane_pb2 as pb

from mlserver_streaming.tensors.wire_format import split_raw, tag, varint

RAW = 7  # raw_input_contents of a ModelInferRequest

MESSAGES = st.builds(
    lambda name, id, numbers, raw: pb.ModelInferRequest(
        model_name=name,
        id=id,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name="x", contents=pb.InferTensorContents(int64_contents=numbers)
            )
        ],
        raw_input_contents=raw,
    ),
    st.text(),
    st.text(),
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.binary()),
)


@given(MESSAGES)
def test_a_message_is_its_rest_and_its_raw_tensors(message: pb.ModelInferRequest) -> None:
    rest, raw = split_raw(message.SerializeToString(), RAW)
    assert [bytes(view) for view in raw] == list(message.raw_input_contents)
    del message.raw_input_contents[:]
    assert pb.ModelInferRequest.FromString(rest) == message


def test_nothing_of_a_tensor_is_copied() -> None:
    message = pb.ModelInferRequest(raw_input_contents=[b"x" * 1000]).SerializeToString()
    _, (raw,) = split_raw(message, RAW)
    assert raw.obj is message


def test_fields_may_come_in_any_order_and_of_any_kind() -> None:
    """protobuf allows it, and fields that nobody knows."""
    message = b"".join(
        [
            tag(RAW, 2) + varint(2) + b"r1",
            tag(99, 0) + varint(2**64 - 1),
            tag(1, 2) + varint(1) + b"m",
            tag(98, 1) + b"8" * 8,
            tag(RAW, 2) + varint(0),
            tag(97, 5) + b"4" * 4,
            tag(96, 2) + varint(3) + b"new",
        ]
    )
    rest, raw = split_raw(message, RAW)
    assert [bytes(view) for view in raw] == [b"r1", b""]
    assert pb.ModelInferRequest.FromString(rest).model_name == "m"
    assert len(rest) == len(message) - 6


@pytest.mark.parametrize(
    "message",
    [
        tag(RAW, 2) + varint(10) + b"short",
        tag(RAW, 2) + varint(2**63) + b"short",
        tag(RAW, 2),
        tag(98, 1) + b"7" * 7,
        tag(97, 5) + b"3" * 3,
        tag(1, 3),  # a group: proto2 only
        tag(1, 6),
        b"\x80",
        b"\xff" * 11,
    ],
)
def test_a_message_that_is_cut_or_malformed_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError):
        split_raw(message, RAW)


@given(st.binary(max_size=200))
def test_any_bytes_are_split_or_refused(message: bytes) -> None:
    try:
        rest, raw = split_raw(message, RAW)
    except ValueError:
        return
    assert len(rest) + sum(map(len, raw)) <= len(message)


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_written_as_protobuf_writes_it(value: int) -> None:
    parameter = pb.InferParameter(int64_param=value if value < 2**63 else value - 2**64)
    assert tag(2, 0) + varint(value) == parameter.SerializeToString()
