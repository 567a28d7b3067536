"""The most likely classes of an output in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlserver import MLModel
from mlserver.batching.hooks import load_batching
from mlserver.errors import MLServerError
from mlserver.settings import ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse, RequestOutput, ResponseOutput

from mlserver_streaming.errors import failure_of
from mlserver_streaming.management.statistics import statistics
from mlserver_streaming.streams.answers import One
from mlserver_streaming.streams.classification import classified as steps_of
from mlserver_streaming.streams.model_config import model_config
from mlserver_streaming.tensors.raw import DTYPES
from mlserver_streaming.tensors.steps import finish
from tests.streams.planes import plane_of

SCORES = [0.1, 0.7, 0.2, 0.7]


def model(labels: Any = None, **settings: Any) -> MLModel:
    output: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": [-1]}
    if labels is not None:
        output["parameters"] = {"labels": labels}
    return MLModel(ModelSettings(name="m", implementation=MLModel, outputs=[output], **settings))


def output(data: Any, datatype: str = "FP32", shape: list[int] | None = None) -> ResponseOutput:
    shape = shape if shape is not None else list(np.shape(data))
    return ResponseOutput.model_construct(name="y", datatype=datatype, shape=shape, data=data)


def classified(*arguments: Any) -> ResponseOutput:
    return finish(steps_of(*arguments))


def classes(found: ResponseOutput) -> list[str]:
    assert found.datatype == "BYTES"
    return list(found.data.root)


@pytest.mark.parametrize("as_given", [list, lambda data: np.array(data, np.float32)])
def test_the_largest_come_first_and_of_equal_ones_the_first(as_given: Any) -> None:
    found = classified(output(as_given(SCORES)), 3, model())
    assert found.shape == [3]
    assert classes(found) == ["0.700000:1", "0.700000:3", "0.200000:2"]


def test_classes_have_their_names() -> None:
    found = classified(output(SCORES), 2, model(["a", "b"]))
    assert classes(found) == ["0.700000:1:b", "0.700000:3"]


@pytest.mark.parametrize("labels", ["abc", {"a": 1}, 7, []])
def test_labels_that_are_none_name_nothing(labels: Any) -> None:
    assert classes(classified(output(SCORES), 1, model(labels))) == ["0.700000:1"]


@pytest.mark.parametrize(
    ("data", "datatype", "wanted"),
    [
        ([3, -1, 7], "INT32", ["7:2", "3:0"]),
        ([3, 0, 255], "UINT8", ["255:2", "3:0"]),
        ([False, True], "BOOL", ["1:1", "0:0"]),
        ([[1.5, 2.5], [0.5, 3.5]], "FP64", ["3.500000:3", "2.500000:1"]),
        ([float("nan"), 1.0], "FP32", ["1.000000:1", "nan:0"]),
        ([], "FP32", []),
    ],
)
def test_all_numbers_have_classes(data: Any, datatype: str, wanted: list[str]) -> None:
    assert classes(classified(output(data, datatype), 2, model())) == wanted


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("data", "datatype", "wanted"),
    [
        ([NAN, NAN, NAN, 1.0, 2.0], "FP32", ["2.000000:4", "1.000000:3", "nan:0"]),
        ([NAN, INF, -INF, 1.0], "FP64", ["inf:1", "1.000000:3", "nan:0"]),
        ([NAN] * 4, "FP16", ["nan:0", "nan:1", "nan:2"]),
        ([2**53, 2**53 + 1, -(2**63)], "INT64", [f"{2**53 + 1}:1", f"{2**53}:0", f"{-(2**63)}:2"]),
        ([0, 2**64 - 2, 2**64 - 1], "UINT64", [f"{2**64 - 1}:2", f"{2**64 - 2}:1", "0:0"]),
    ],
)
def test_there_are_as_many_classes_as_the_shape_says(
    data: Any, datatype: str, wanted: list[str]
) -> None:
    found = classified(output(np.array(data, DTYPES[datatype]), datatype), 3, model())
    assert found.shape == [3]
    assert classes(found) == wanted


@pytest.mark.parametrize("count", [1, 5, 3000])
def test_a_large_output_is_looked_through_in_steps(count: int) -> None:
    data = np.random.default_rng(1).integers(0, 1000, 300_000).astype(np.float32)
    steps = steps_of(output(data), count, model())
    assert next(steps) is None
    wanted = np.argsort(-data, kind="stable")[:count]
    assert classes(finish(steps)) == [f"{data[index]:f}:{index}" for index in wanted]


async def test_rows_without_a_value_are_not_walked(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Scores}) as plane:
        batched = await plane._model_registry.get_model("m")
        batched.settings.max_batch_size, batched.settings.max_batch_time = 8, 0.2
        await load_batching(batched)
        found = classified(output(np.empty((2**40, 0), np.float32)), 2, batched)
    assert (found.shape, classes(found)) == ([2**40, 0], [])


@pytest.mark.parametrize("datatype", ["BYTES", "BF16"])
def test_others_have_none(datatype: str) -> None:
    with pytest.raises(MLServerError, match="has no classes") as raised:
        classified(output(["a"], datatype), 2, model())
    assert raised.value.status_code == 400


class Scores(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        data = np.array([SCORES] * payload.inputs[0].shape[0], np.float32)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                {
                    "name": "y",
                    "datatype": "FP32",
                    "shape": list(data.shape),
                    "data": data.ravel().tolist(),
                },
                {"name": "z", "datatype": "INT32", "shape": [1], "data": [5]},
            ],
        )


def wanting(count: Any, name: str = "y", rows: int = 1) -> InferenceRequest:
    outputs = [RequestOutput(name=name, parameters={"classification": count})]
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows], "data": [1.0] * rows}
    return InferenceRequest(inputs=[tensor], outputs=outputs)


async def test_requests_name_what_they_want_classes_of(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Scores}) as plane:
        unary = await plane.infer(wanting(1), "m")
        [streamed] = [each async for each in plane.infer_stream(One(wanting(2)), "m")]
        assert [each.name for each in unary.outputs] == ["y"]
        assert classes(unary.outputs[0]) == ["0.700000:1"]
        assert classes(streamed.outputs[0]) == ["0.700000:1", "0.700000:3"]
        for count in (0, -1, True, "2", 1.5, 10**6):
            with pytest.raises(MLServerError, match="a number of classes") as raised:
                await plane.infer(wanting(count), "m")
            assert raised.value.status_code == 400


class Counting(Scores):
    asked = 0

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        Counting.asked += 1
        return await super().predict(payload)


async def test_a_model_is_not_asked_what_is_refused_anyway(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Counting}) as plane:
        with pytest.raises(MLServerError, match="a number of classes"):
            await plane.infer(wanting(0), "m")
    assert Counting.asked == 0


class Named(MLModel):
    """Streams numbers and text."""

    async def predict_stream(self, payloads: Any) -> Any:
        async for payload in payloads:
            outputs = [output(SCORES), ResponseOutput(**TEXT)]
            yield InferenceResponse.model_construct(
                model_name=self.name, id=payload.id, parameters=None, outputs=outputs
            )


TEXT: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}


async def test_a_request_of_several_that_has_no_classes_fails_alone(tmp_path: Path) -> None:
    async def asked() -> AsyncIterator[InferenceRequest]:
        for name in ("text", "y"):
            yield wanting(1, name).model_copy(update={"id": name})

    async with plane_of(tmp_path, {"m": Named}) as plane:
        first, second = [each async for each in plane.infer_stream(asked(), "m")]
    failure = failure_of(first)
    assert failure is not None
    assert "has no classes" in str(failure)
    assert failure.status_code == 400
    assert classes(second.outputs[0]) == ["0.700000:1"]


async def test_a_model_whose_requests_are_put_together_has_classes_by_the_row(
    tmp_path: Path,
) -> None:
    async with plane_of(tmp_path, {"m": Scores}) as plane:
        model = await plane._model_registry.get_model("m")
        model.settings.max_batch_size, model.settings.max_batch_time = 8, 0.2
        await load_batching(model)
        asked = [plane.infer(wanting(1, rows=rows), "m") for rows in (1, 2)]
        answers = await asyncio.gather(*asked)
        config = model_config(model)
        [found] = (await statistics(plane, "m"))["model_stats"]
    assert [each.outputs[0].shape for each in answers] == [[1, 1], [2, 1]]
    assert classes(answers[1].outputs[0]) == ["0.700000:1"] * 2
    assert config["max_batch_size"] == 8
    assert config["dynamic_batching"] == {"max_queue_delay_microseconds": 200_000}
    # One run of both.
    assert [each["batch_size"] for each in found["batch_stats"]] == [3]
    assert (found["inference_count"], found["execution_count"]) == (3, 1)
    assert found["inference_stats"]["success"]["count"] == 2
