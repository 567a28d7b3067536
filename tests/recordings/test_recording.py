"""Responses are the same again when they come back from their bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from mlserver_streaming.recordings.recorded import Recorded, data_of
from mlserver_streaming.recordings.recording import (
    CHUNK_RESPONSES,
    Chunk,
    MalformedError,
    Recording,
    decode,
    encode,
    record,
)
from mlserver_streaming.rpc import responses
from mlserver_streaming.tensors import json_codec


def output(data: Any, datatype: str = "BYTES", **parameters: Any) -> ResponseOutput:
    return ResponseOutput.model_construct(
        name="y",
        datatype=datatype,
        shape=[len(data)],
        parameters=Parameters(**parameters) if parameters else None,
        data=TensorData.model_construct(root=data),
    )


def response(*outputs: ResponseOutput, **parameters: Any) -> InferenceResponse:
    return InferenceResponse.model_construct(
        model_name="m",
        model_version="v1",
        id="theirs",
        parameters=Parameters(**parameters) if parameters else None,
        outputs=list(outputs),
    )


def again(original: InferenceResponse) -> Recorded:
    (found,) = decode(encode([Recorded.of(original, 0.25)]))
    return found


OUTPUTS = [
    output(["one", "zwei ½"], content_type="str"),
    output([b"\xff\xd8raw", b""]),
    output([b"mixed", "both"]),
    output([], content_type="base64"),
    output([1, 2**63 - 1, -5], "INT64"),
    output([0.1, 1e300], "FP64", scale=2),
    output([1.5, float("nan"), float("inf")], "FP32"),
    output(np.array([[1.5, 2], [3, np.nan]], "<f4"), "FP32"),
    output(np.array([1, 2], ">i4"), "INT32"),
    output(np.array([True, False]), "BOOL"),
    output(np.zeros((0, 4), "<f4"), "FP32"),
    output(np.array([b"a", b"bc"], object)),
]


@pytest.mark.parametrize("each", OUTPUTS, ids=lambda each: str(data_of(each))[:20])
def test_a_response_says_the_same_over_every_wire(each: ResponseOutput):
    original = response(each, index=3, note={"a": [1, None]})
    # What goes over the wire first, before anything is taken down.
    first = original.model_copy(update={"id": None})
    json, raw = json_codec.encode_response(first), responses.encode_response(first, True)
    found = again(original)
    assert (found.model_name, found.model_version, found.seconds) == ("m", "v1", 0.25)
    assert found.parameters == {"index": 3, "note": {"a": [1, None]}}
    replayed = InferenceResponse.model_construct(
        model_name="m",
        model_version="v1",
        parameters=Parameters(**found.parameters),
        outputs=found.outputs,
    )
    assert json_codec.encode_response(replayed) == json
    assert responses.encode_response(replayed, True) == raw


def test_an_array_that_its_model_uses_again_is_not_changed():
    array = np.array([1.0, 2.0], "<f4")
    recorded = Recorded.of(response(output(array, "FP32")), 0)
    array[:] = 0
    assert data_of(recorded.outputs[0]).tolist() == [1, 2]


@pytest.mark.parametrize(
    "strange",
    [
        response(output(["\ud800"])),
        response(output({"a": 1}, "FP32")),
        response(output(["a"]), far=2**70),
        response(output(["a"]), odd=float("nan")),
        response(output(["a"]), raw=b"bytes"),
    ],
)
async def test_what_has_no_such_form_is_not_recorded(strange: InferenceResponse):
    assert await record([Recorded.of(strange, 0)]) is None


@pytest.mark.parametrize("count", [0, 1, CHUNK_RESPONSES, 3 * CHUNK_RESPONSES + 1])
async def test_a_stream_of_any_length_comes_back_in_order(count: int):
    said = [Recorded.of(response(output([f"word {n}"])), n / 10) for n in range(count)]
    recording = await record(said)
    assert recording is not None
    await recording.check()
    assert [data_of(each.outputs[0]) for each in recording] == [[f"word {n}"] for n in range(count)]
    assert [each.seconds for each in recording] == pytest.approx([n / 10 for n in range(count)])


async def test_what_is_alike_is_told_once():
    said = [Recorded.of(response(output(["word"], content_type="str")), 0) for _ in range(100)]
    recording = await record(said)
    assert recording is not None and recording.size < 100 * 30


@given(st.data())
def test_no_bytes_make_it_fail_otherwise_than_it_says(data: st.DataObject):
    """Cut short, changed, or of another program."""
    whole = encode([Recorded.of(response(*OUTPUTS, index=1), 0.5)])
    parts = [bytes(whole.head), *map(bytes, whole.tensors)]
    number = data.draw(st.integers(0, len(parts) - 1))
    part = parts[number]
    at = data.draw(st.integers(0, max(0, len(part) - 1)))
    changed = data.draw(
        st.sampled_from(
            [
                part[:at],
                part[:at] + data.draw(st.binary(min_size=1, max_size=8)) + part[at + 1 :],
                data.draw(st.binary(max_size=200)),
                part + b"x",
            ]
        )
    )
    parts[number : number + data.draw(st.integers(0, 2))] = [changed]
    try:
        for recorded in decode(Chunk(parts[0], parts[1:])):
            recorded.response("r", "hit", Parameters())
    except MalformedError:
        pass


async def test_a_recording_is_checked_before_any_of_it_is_given():
    good = encode([Recorded.of(response(output(["a"])), 0)])
    with pytest.raises(MalformedError):
        await Recording([good, Chunk(good.head[:-1], ())]).check()
