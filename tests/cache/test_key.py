"""The same question has the same key; another one has another."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import InferenceRequest, Parameters, RequestInput, TensorData

from mlserver_streaming.cache.key import PREDICT, STREAM, is_large, key_of
from mlserver_streaming.rest import binary, generate
from mlserver_streaming.rpc import requests
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors import json_requests
from mlserver_streaming.tensors.raw import DTYPES
from mlserver_streaming.tensors.steps import finish

IDENTITY = b"i" * 32


def key(request: InferenceRequest, **arguments: Any) -> str | None:
    given = {"identity": IDENTITY, "kind": STREAM, "caller": "", **arguments}
    return key_of(request, **given)


def tensor(
    data: Any, datatype: str = "FP32", shape: list[int] | None = None, **parameters: Any
) -> RequestInput:
    return RequestInput.model_construct(
        name="x",
        datatype=datatype,
        shape=[2] if shape is None else shape,
        parameters=Parameters(**parameters) if parameters else None,
        data=TensorData.model_construct(root=data),
    )


def asking(*tensors: RequestInput, id: str = "r", **parameters: Any) -> InferenceRequest:
    return InferenceRequest.model_construct(
        id=id, parameters=Parameters(**parameters) if parameters else None, inputs=list(tensors)
    )


# -- over every wire --


def over_json(**request: Any) -> InferenceRequest:
    return finish(json_requests.decode_request(request, LimitSettings()))


def over_binary(raw: bytes, **request: Any) -> InferenceRequest:
    request["inputs"][0].setdefault("parameters", {})["binary_data_size"] = len(raw)
    request.setdefault("parameters", {})["binary_data_output"] = True
    binary.attach_tensors(request, memoryview(raw))
    binary.BinaryOutputs.take(request)
    return finish(json_requests.decode_request(request, LimitSettings()))


def over_grpc(raw: bytes | None = None, **message: Any) -> InferenceRequest:
    request = pb.ModelInferRequest(**message)
    if raw is not None:
        request.raw_input_contents.append(raw)
    return finish(requests.decode(request.SerializeToString(), LimitSettings())).payload


def test_a_text_is_the_same_question_over_every_wire():
    declared = [pb.ModelMetadataResponse.TensorMetadata(name="prompt", datatype="BYTES", shape=[1])]
    described = {"name": "prompt", "datatype": "BYTES", "shape": [1]}
    raw = struct.pack("<I", 3) + "né".encode()
    keys = {
        key(request)
        for request in (
            over_json(id="1", inputs=[{**described, "data": ["né"]}]),
            over_json(inputs=[{**described, "data": "né", "parameters": {"content_type": "str"}}]),
            over_json(**generate.unflatten({"text_input": "né"}, declared)),
            over_binary(raw, inputs=[dict(described)]),
            over_grpc(raw, id="2", inputs=[described]),
            over_grpc(inputs=[{**described, "contents": {"bytes_contents": ["né".encode()]}}]),
        )
    }
    assert len(keys) == 1 and None not in keys


@pytest.mark.parametrize(
    ("datatype", "values", "field"),
    [
        ("FP32", [0.1, -2.5], "fp32_contents"),
        ("FP64", [0.1, 1e300], "fp64_contents"),
        ("INT64", [-(2**63), 5], "int64_contents"),
        ("UINT8", [0, 255], "uint_contents"),
        ("BOOL", [True, False], "bool_contents"),
    ],
)
def test_numbers_are_the_same_question_over_every_wire(
    datatype: str, values: list[Any], field: str
):
    described = {"name": "x", "datatype": datatype, "shape": [1, 2]}
    raw = np.array([values], DTYPES[datatype]).tobytes()
    keys = {
        key(request)
        for request in (
            over_json(inputs=[{**described, "data": values}]),
            over_json(inputs=[{**described, "data": [values]}]),
            over_binary(raw, inputs=[dict(described)]),
            over_grpc(raw, inputs=[described]),
            over_grpc(inputs=[{**described, "contents": {field: values}}]),
        )
    }
    assert len(keys) == 1 and None not in keys


# -- what is part of the question --


BASE: dict[str, Any] = {"seed": 1}


@pytest.mark.parametrize(
    "other",
    [
        asking(tensor([1.0, 2.5]), **BASE),
        asking(tensor([1.0, 2.0], shape=[1, 2]), **BASE),
        asking(tensor([1.0, 2.0], "FP64"), **BASE),
        asking(tensor([1.0, 2.0], content_type="np"), **BASE),
        asking(tensor([1.0, 2.0]), tensor([1.0, 2.0]), **BASE),
        asking(tensor([1.0, 2.0]), seed=2),
        asking(tensor([1.0, 2.0]), seed="1"),
        asking(tensor([1.0, 2.0]), seed=True),
        asking(tensor([1.0, 2.0]), seed=1, content_type="pd"),
        asking(tensor([1.0, 2.0]), seed=1, more=None),
        asking(tensor([1.0, 2.0]), seed=1, sequence_id=1),
        asking(tensor([1.0, 2.0])),
    ],
)
def test_another_question_has_another_key(other: InferenceRequest):
    assert key(other) != key(asking(tensor([1.0, 2.0]), **BASE))


def test_models_ways_and_callers_are_kept_apart():
    request = asking(tensor([1.0, 2.0]))
    keys = [
        key(request),
        key(request, identity=b"j" * 32),
        key(request, kind=PREDICT),
        key(request, caller="ann"),
        key(request, caller="bob"),
    ]
    assert len(set(keys)) == 5


def test_wanted_outputs_are_part_of_the_question_and_how_they_travel_is_not():
    def wanting(*outputs: dict[str, Any]) -> str | None:
        described = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]}
        return key(over_json(inputs=[described], outputs=list(outputs)))

    assert wanting({"name": "y"}) == wanting({"name": "y", "parameters": {"binary_data": True}})
    keys = [wanting(), wanting({"name": "y"}), wanting({"name": "z"})]
    keys += [wanting({"name": "y", "parameters": {"classification": 3}})]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    "parameters",
    [
        {"timeout": 1000},
        {"headers": {"x-request-id": "a"}},
        {"triton_enable_empty_final_response": True},
        {"delay": 3},
    ],
)
def test_what_the_service_is_told_is_no_part_of_the_question(parameters: dict[str, Any]):
    plain, more = asking(tensor([1.0, 2.0])), asking(tensor([1.0, 2.0]), id="s", **parameters)
    assert key(plain) == key(more, ignored=["delay"])


def test_the_order_in_which_parameters_come_does_not_matter():
    assert key(asking(tensor([1, 2]), a=1, b={"c": 2, "d": 3})) == key(
        asking(tensor([1, 2]), b={"d": 3, "c": 2}, a=1)
    )


def test_nan_has_a_key_and_is_no_null():
    found = [key(asking(tensor([1, 2]), a=value)) for value in (float("nan"), None, "NaN")]
    assert None not in found and len(set(found)) == 3


def test_elements_do_not_run_into_one_another():
    def of(*elements: Any) -> str | None:
        return key(asking(tensor(list(elements), "BYTES", [len(elements)])))

    assert of("ab", "c") != of("a", "bc")
    assert of("a", "b") == of(b"a", b"b") != of("b", "a")


@pytest.mark.parametrize(
    "strange",
    [
        asking(tensor(["\ud800"], "BYTES", [1])),
        asking(tensor([10**400, 1], "FP64")),
        asking(tensor(np.array([object(), 1], object), "FP32")),
        asking(tensor([1, 2]), a=b"bytes"),
        asking(tensor(["a"], "BYTES", [1]), a={1, 2}),
    ],
)
def test_what_cannot_be_compared_has_no_key(strange: InferenceRequest):
    assert key(strange) is None


def test_nothing_can_be_read_from_a_key():
    found = key(asking(tensor(["secret"], "BYTES", [1]), word="secret"), caller="secret")
    assert found is not None and len(found) == 64 and int(found, 16)


@pytest.mark.parametrize(
    ("data", "large"),
    [
        (np.zeros(300_000, "<f4"), True),
        (np.zeros(1000, "<f4"), False),
        ([b"x" * 2_000_000], True),
        (["a"], False),
        ([0.5] * 100_000, True),
        ([["a" * 5] * 5] * 5, False),
    ],
)
def test_a_large_question_is_digested_away_from_the_loop(data: Any, large: bool):
    assert is_large(asking(tensor(data))) is large
