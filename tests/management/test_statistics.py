"""Triton's statistics, of models on a real data plane."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.access.callers import INFER, Caller, set_current
from mlserver_streaming.management.statistics import counted, statistics
from mlserver_streaming.streams.answers import One
from mlserver_streaming.streams.calls import GRPC
from mlserver_streaming.watch.statistics import Duration, Served
from tests.streams.planes import answer, ask, asked, plane_of, stream_of


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        await asyncio.sleep(0)
        if asked(payload) == "bad":
            raise ValueError("its own mistake")
        return answer(asked(payload), id=payload.id)


class Words(MLModel):
    async def predict_stream(self, payloads: Any) -> Any:
        async for payload in payloads:
            for word in asked(payload).split():
                yield answer(word, id=payload.id)


async def of(plane: Any, name: str, version: str | None = None) -> dict[str, Any]:
    [found] = (await statistics(plane, name, version))["model_stats"]
    return found


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {name: each["count"] for name, each in found["inference_stats"].items() if each["count"]}


async def test_unary_and_streamed_requests_count_once_each(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"echo": Echo, "words": Words}) as plane:
        for text in ("a", "b", "bad"):
            with suppress(MLServerError):
                await plane.infer(ask(text), "echo")
        async for _ in plane.infer_stream(stream_of(ask("a b"), ask("c", id="2")), "words"):
            pass
        await plane.infer(ask("a b"), "words")
        echo, words = await of(plane, "echo"), await of(plane, "words", "1")
    ran = dict.fromkeys(("queue", "compute_input", "compute_infer", "compute_output"), 2)
    assert counts(echo) == {"success": 2, "fail": 1, **ran}
    assert counts(words) == {"success": 3, **{name: 3 for name in ran}}
    assert (echo["inference_count"], echo["execution_count"]) == (2, 2)
    assert [each["batch_size"] for each in words["batch_stats"]] == [1]
    assert echo["inference_stats"]["compute_infer"]["ns"] > 0
    assert echo["last_inference"] > 0 and echo["version"] == "1"


async def test_the_parts_are_within_the_whole() -> None:
    seen = Served(None, None, None)
    seen.count(1000, 2, 0)
    seen.queue_ns, seen.input_ns, seen.output_ns = 50, 30, 20
    parts = counted(seen, Duration(), Duration())["inference_stats"]
    assert parts["success"] == {"count": 2, "ns": 1100}
    assert parts["compute_infer"] == {"count": 2, "ns": 1000}


@pytest.mark.parametrize("model", [Echo, Words])
async def test_what_the_cache_answers_is_no_inference(tmp_path: Path, model: Any) -> None:
    async with plane_of(tmp_path, {"m": model}, cached=True) as plane:
        for text in ("a", "a", "b", "a"):
            await plane.infer(ask(text), "m")
            async for _ in plane.infer_stream(One(ask(f"{text} c")), "m"):
                pass
        found = await of(plane, "m")
    stats = found["inference_stats"]
    hits = stats["cache_hit"]["count"]
    assert hits >= 2 and stats["cache_hit"]["ns"] > 0
    assert stats["success"]["count"] == 8 == hits + stats["compute_infer"]["count"]
    assert found["inference_count"] == stats["cache_miss"]["count"] == 8 - hits


async def test_who_waits_for_a_slot_is_in_the_queue(tmp_path: Path) -> None:
    limits = {"streaming": {"limits": {"streams": 1}}}
    (tmp_path / "settings.json").write_text(json.dumps(limits))
    began, go = asyncio.Event(), asyncio.Event()

    class Waiting(Echo):
        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            began.set()
            await go.wait()
            return await super().predict(payload)

    async with plane_of(tmp_path, {"m": Waiting}) as plane:

        async def call() -> None:
            async with plane.calls.open(GRPC, {}):
                await plane.infer(ask(), "m")

        first = asyncio.create_task(call())
        await began.wait()
        second = asyncio.create_task(call())
        await asyncio.sleep(0)  # it asks for its slot
        go.set()
        await asyncio.gather(first, second)
        found = await of(plane, "m")
    queue = found["inference_stats"]["queue"]
    assert queue["count"] == 2 and queue["ns"] > 0


async def test_each_version_and_each_model_that_the_caller_may_use(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m/1": Echo, "m/2": Echo, "other": Echo}) as plane:
        await plane.infer(ask(), "m", "1")
        versions = {
            each["version"]: each["inference_count"]
            for each in (await statistics(plane, "m"))["model_stats"]
        }
        everything = {each["name"] for each in (await statistics(plane))["model_stats"]}

        async def limited() -> set[str]:
            set_current(Caller("a", frozenset({INFER}), frozenset({"other"})))
            return {each["name"] for each in (await statistics(plane))["model_stats"]}

        own = await asyncio.create_task(limited())
        with pytest.raises(MLServerError, match="no model 'nope'"):
            await statistics(plane, "nope")
    assert versions == {"1": 1, "2": 0}
    assert everything == {"m", "other"} and own == {"other"}
