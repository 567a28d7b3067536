"""Large messages, cut: what stays where it is, what protobuf still reads, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.grpc import dataplane_pb2 as pb

from mlserver_streaming.errors import BadRequestError, TooLargeError
from mlserver_streaming.rpc.cutting import RAW_INPUT_CONTENTS, cut, head_of
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.steps import OBJECTS, finish
from mlserver_streaming.tensors.wire_format import FieldsError, tag, varint

LIMITS = LimitSettings()
Input = pb.ModelInferRequest.InferInputTensor

MESSAGES = st.builds(
    lambda name, id, numbers, texts, raw: pb.ModelInferRequest(
        model_name=name,
        id=id,
        inputs=[
            Input(name="x", contents=pb.InferTensorContents(int64_contents=numbers)),
            Input(name="y", contents=pb.InferTensorContents(bytes_contents=texts)),
            Input(name="z", shape=[1, 2], parameters={"p": pb.InferParameter(bool_param=True)}),
        ],
        raw_input_contents=raw,
    ),
    st.text(),
    st.text(),
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.binary()),
    st.lists(st.binary()),
)


@given(MESSAGES)
def test_a_message_is_its_head_and_its_data(message: pb.ModelInferRequest) -> None:
    found = finish(cut(message.SerializeToString(), LIMITS))
    assert [bytes(view) for view in found.raw] == list(message.raw_input_contents)
    numbers, texts, none = found.contents
    packed = message.inputs[0].contents.SerializeToString()
    assert (
        b"".join(data for _, _, data in numbers or [])
        == packed[-sum(len(data) for _, _, data in numbers or []) or len(packed) :]
    )
    assert [bytes(data) for _, _, data in texts or []] == list(
        message.inputs[1].contents.bytes_contents
    )
    assert none is None
    del message.raw_input_contents[:]
    for tensor in message.inputs:
        tensor.ClearField("contents")
    assert pb.ModelInferRequest.FromString(found.head) == message


def test_nothing_of_a_tensor_is_copied() -> None:
    message = pb.ModelInferRequest(
        raw_input_contents=[b"x" * 1000],
        inputs=[Input(contents=pb.InferTensorContents(fp32_contents=[1.0] * 1000))],
    ).SerializeToString()
    found = finish(cut(message, LIMITS))
    assert found.raw[0].obj is message
    ((_, _, numbers),) = found.contents[0] or []
    assert numbers.obj is message


def test_fields_may_come_in_any_order_and_of_any_kind() -> None:
    """protobuf allows it, and fields that nobody knows."""
    raw = tag(RAW_INPUT_CONTENTS, 2)
    message = b"".join(
        [
            raw + varint(2) + b"r1",
            tag(99, 0) + varint(2**64 - 1),
            tag(1, 2) + varint(1) + b"m",
            tag(98, 1) + b"8" * 8,
            raw + varint(0),
            tag(97, 5) + b"4" * 4,
            tag(96, 2) + varint(3) + b"new",
        ]
    )
    found = finish(cut(message, LIMITS))
    assert [bytes(view) for view in found.raw] == [b"r1", b""]
    assert pb.ModelInferRequest.FromString(found.head).model_name == "m"
    assert len(found.head) == len(message) - 6


@given(st.binary(max_size=200))
def test_any_bytes_are_cut_or_refused(message: bytes) -> None:
    try:
        found = finish(cut(message, LIMITS))
    except (FieldsError, BadRequestError):
        return
    assert len(found.head) + sum(map(len, found.raw)) <= len(message)


PARAMETER = {str(number): pb.InferParameter(int64_param=number) for number in range(1025)}
MANY = {
    "inputs": (pb.ModelInferRequest(inputs=[Input()] * 1025), "more than 1024 inputs"),
    "raw tensors": (pb.ModelInferRequest(raw_input_contents=[b""] * 1025), "1024 inputs"),
    "outputs": (
        pb.ModelInferRequest(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor()] * 1025),
        "1024 outputs",
    ),
    "parameters": (pb.ModelInferRequest(parameters=PARAMETER), "1024 parameters"),
    "an input's": (pb.ModelInferRequest(inputs=[Input(parameters=PARAMETER)]), "1024 parameters"),
    "elements": (
        pb.ModelInferRequest(
            inputs=[Input(contents=pb.InferTensorContents(bytes_contents=[b""] * 90_000))]
        ),
        "more than 81920 fields",
    ),
    "text": (pb.ModelInferRequest(id="x" * 2**20), "bytes beside its tensors"),
}


@pytest.mark.parametrize("what", MANY)
def test_more_than_the_limits_allow_is_refused_in_a_sentence(what: str) -> None:
    message, said = MANY[what]
    with pytest.raises(TooLargeError, match=said):
        finish(cut(message.SerializeToString(), LimitSettings(text_bytes=2**20)))


def test_unknown_fields_and_sizes_are_bounded() -> None:
    with pytest.raises(TooLargeError, match="fields"):
        finish(cut(b"\x78\1" * 100_000, LIMITS))
    sizes = pb.ModelInferRequest(inputs=[Input(shape=[1] * 1000)]).SerializeToString()
    with pytest.raises(BadRequestError, match="dimensions"):
        finish(cut(sizes, LIMITS))


def test_a_long_message_is_looked_through_in_short_steps() -> None:
    message = pb.ModelInferRequest(
        inputs=[Input(contents=pb.InferTensorContents(bytes_contents=[b"ab"] * 60_000))]
    ).SerializeToString()
    assert sum(1 for _ in cut(message, LIMITS)) >= 60_000 // OBJECTS


def test_whose_a_refused_message_is() -> None:
    message = pb.ModelInferRequest(model_name="m", model_version="v", id="7")
    whole = message.SerializeToString()
    for refused in (whole + b"\x78\1" * 100_000, whole + b"\xff\xff"):
        assert pb.ModelInferRequest.FromString(head_of(refused)) == message
