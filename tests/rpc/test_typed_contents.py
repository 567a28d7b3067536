"""Typed contents of large messages: the same elements as protobuf gives, without its lists."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.grpc import dataplane_pb2 as pb

from mlserver_streaming.errors import BadRequestError, TooLargeError
from mlserver_streaming.rpc import requests
from mlserver_streaming.rpc.requests import SMALL_MESSAGE_BYTES
from mlserver_streaming.rpc.typed_contents import CONTENTS, NARROW
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.raw import BYTES, DTYPES
from mlserver_streaming.tensors.steps import Steps, finish
from mlserver_streaming.tensors.wire_format import tag, varint

# What makes any message a large one.
LARGE = pb.ModelInferRequest(id="x" * SMALL_MESSAGE_BYTES).SerializeToString()
NUMBERS = sorted(set(CONTENTS) - {BYTES})
Input = pb.ModelInferRequest.InferInputTensor


def decode(message: pb.ModelInferRequest | bytes) -> Steps[Any]:
    whole = message if isinstance(message, bytes) else message.SerializeToString()
    found = yield from requests.decode(LARGE + whole, LimitSettings())
    return found.payload.inputs[0].data.root


def typed(datatype: str, elements: list[Any], shape: list[int] | None = None) -> Any:
    contents = pb.InferTensorContents(**{CONTENTS[datatype]: elements})
    shape = [len(elements)] if shape is None else shape
    tensor = Input(name="x", datatype=datatype, shape=shape, contents=contents)
    tensor.contents.SetInParent()
    return pb.ModelInferRequest(inputs=[tensor])


@given(st.sampled_from(NUMBERS), st.data())
def test_numbers_are_those_that_protobuf_reads(datatype: str, data: st.DataObject) -> None:
    dtype = DTYPES[datatype]
    elements: Any = st.booleans()
    if dtype.kind == "f":
        elements = st.floats(width=8 * dtype.itemsize)
    elif dtype.kind != "b":
        limits = np.iinfo(dtype)
        elements = st.integers(int(limits.min), int(limits.max))
    wanted = data.draw(st.lists(elements))
    found = finish(decode(typed(datatype, wanted)))
    assert found.dtype == dtype
    assert np.array_equal(found, np.array(wanted, dtype), equal_nan=True)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_many_numbers_are_read_in_pieces(datatype: str) -> None:
    wanted = (np.arange(200_000) % (2 if datatype == "BOOL" else 100)).astype(DTYPES[datatype])
    sent = typed(datatype, wanted.tolist(), [2, 100_000])
    assert np.array_equal(finish(decode(sent)), wanted.reshape(2, 100_000))
    if datatype.startswith("FP"):
        return
    assert sum(1 for _ in decode(sent)) > 5


def test_text_is_a_list_of_bytes() -> None:
    assert finish(decode(typed(BYTES, [b"a", b"", b"\xff" * 1000]))) == [b"a", b"", b"\xff" * 1000]
    assert finish(decode(typed(BYTES, [], [0]))) == []


def test_floats_stay_where_they_were_received() -> None:
    whole = LARGE + typed("FP32", [1.0, 2.0]).SerializeToString()
    found = finish(requests.decode(whole, LimitSettings())).payload.inputs[0].data.root
    assert np.shares_memory(found, np.frombuffer(whole, np.uint8))


@pytest.mark.parametrize("datatype", ["INT32", "FP32", "FP64", "BOOL"])
def test_numbers_may_be_sent_one_by_one_and_in_several_parts(datatype: str) -> None:
    """As encoders of proto2 do, and as messages are when they are joined."""
    number = pb.InferTensorContents.DESCRIPTOR.fields_by_name[CONTENTS[datatype]].number
    if datatype.startswith("FP"):
        dtype = DTYPES[datatype]
        alone = [
            tag(number, 5 if dtype.itemsize == 4 else 1) + np.array(value, dtype).tobytes()
            for value in (1, 0)
        ]
    else:
        alone = [tag(number, 0) + varint(value) for value in (1, 0)]
    packed = pb.InferTensorContents(**{CONTENTS[datatype]: [1, 1]}).SerializeToString()
    contents = b"".join([alone[0], packed, alone[1]])
    tensor = Input(name="x", datatype=datatype, shape=[4]).SerializeToString()
    tensor += tag(5, 2) + varint(len(contents)) + contents
    message = tag(5, 2) + varint(len(tensor)) + tensor
    assert finish(decode(message)).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (typed("FP32", [1.0], [2]), "holds 1 element"),
        (typed("FP32", [1.0, 2.0], [1]), "holds 2 element"),
        (typed("INT32", [1, 2, 3], [2]), "holds 3 element"),
        (typed("INT64", [2**40], [2]), "holds 1 element"),
        (typed("INT32", [1], [10**12]), "holds 1 element"),
        (typed(BYTES, [b""], [2]), "holds 1 element"),
        (typed(BYTES, [b"", b""], [1]), "holds 2 element"),
        *((typed(datatype, [300 if "8" in datatype else 70_000]), "from") for datatype in NARROW),
        (
            pb.ModelInferRequest(
                inputs=[
                    Input(
                        datatype="FP32",
                        shape=[1],
                        contents=pb.InferTensorContents(int_contents=[1]),
                    )
                ]
            ),
            "must be in fp32_contents",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(sent: pb.ModelInferRequest, said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        finish(decode(sent))


def test_numbers_that_grow_too_much_are_refused() -> None:
    with pytest.raises(TooLargeError, match="more than 3 times"):
        finish(decode(typed("INT64", [1] * 3_000_000)))
