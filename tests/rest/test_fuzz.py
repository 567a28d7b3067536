"""Whatever bytes come: a request, or an error that says what is wrong. Never anything else."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from mlserver.types import InferenceRequest, MetadataTensor

from mlserver_streaming.errors import MLServerError
from mlserver_streaming.rest.binary import HEADER, BinaryOutputs, attach_tensors, split_body
from mlserver_streaming.rest.generate import FlatAnswers, is_flat, unflatten
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.json_requests import decode_request, parse_json
from mlserver_streaming.tensors.raw import BYTES, DTYPES
from mlserver_streaming.tensors.steps import finish

DECLARED = [
    MetadataTensor(name="text", datatype="BYTES", shape=[1]),
    MetadataTensor(name="x", datatype="FP32", shape=[-1, 3]),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["content_type", "headers", "binary_data", "binary_data_size", "delay"]),
    JSON | st.integers(-2, 20),
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["text", "x"]) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | JSON,
        "datatype": st.sampled_from([BYTES, *DTYPES]) | JSON,
    },
    optional={"data": st.lists(st.integers(-1, 300) | st.text()) | JSON, "parameters": PARAMETERS},
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text() | JSON,
        "parameters": PARAMETERS | JSON,
        "inputs": st.lists(TENSOR, max_size=3) | JSON,
        "outputs": st.lists(TENSOR, max_size=2) | JSON,
        "text_input": st.text() | st.lists(st.text()) | JSON,
        "x": JSON,
    },
)
SHORT = settings(max_examples=150, deadline=None)


def decode(body, header, flat):
    """As the endpoints do it; what it raises but MLServerErrors fails the test."""
    try:
        text, tail = split_body(body, header)
        parsed = parse_json(text)
        if flat and is_flat(parsed):
            parsed = unflatten(parsed, DECLARED)
            FlatAnswers.to(parsed)
        attach_tensors(parsed, tail)
        BinaryOutputs.take(parsed)
        assert isinstance(finish(decode_request(parsed, LimitSettings())), InferenceRequest)
    except MLServerError as error:
        assert error.status_code in (400, 422)
        assert str(error)


@SHORT
@given(body=st.binary(), header=st.none() | st.text() | st.integers(-1, 40).map(str))
def test_any_bytes(body, header):
    decode(body, header, flat=True)


@SHORT
@given(body=BODY, tail=st.binary(max_size=20), flat=st.booleans())
def test_json_that_is_nearly_a_request(body, tail, flat):
    text = orjson.dumps(body)
    decode(text + tail, str(len(text)) if tail else None, flat)


@SHORT
@given(data=st.data())
def test_a_request_that_is_whole_but_for_a_cut(data):
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    text = orjson.dumps({"inputs": [tensor]})
    body = text + bytes(8)
    cut = data.draw(st.integers(0, len(body)), label="cut")
    header = data.draw(st.sampled_from([None, str(len(text)), str(cut)]), label=HEADER)
    decode(body[:cut], header, flat=False)
