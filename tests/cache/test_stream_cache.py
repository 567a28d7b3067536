"""The cache as who asks a data plane sees it."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, TensorData

from mlserver_streaming.access import callers
from mlserver_streaming.access.callers import Caller
from mlserver_streaming.cache.flight import MOST_KEPT
from mlserver_streaming.errors import BadRequestError, InternalError
from mlserver_streaming.streams.answers import One
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from tests.memcached import Memcached, needs_memcached
from tests.streams.planes import answer, ask, asked, failure, plane_of, said, stream_of


class Words(MLModel):
    """Each request's words, one a response, `word` by `word` as the test lets it."""

    runs = 0
    read: ClassVar[list[str]] = []
    go: asyncio.Event
    closed = 0

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            type(self).runs += 1
            try:
                for word in asked(request).split(" "):
                    type(self).read.append(word)
                    match word:
                        case "wait":
                            await self.go.wait()
                        case "raise":
                            raise ValueError("a secret")
                        case "refuse":
                            raise MLServerError("refused", 418)
                        case "fail":
                            yield failure("failed", 422)
                        case _:
                            yield answer(word, id=request.id)
            finally:
                type(self).closed += 1


@pytest.fixture
def words() -> type[Words]:
    return type("Words", (Words,), {"read": [], "go": asyncio.Event()})


class Said:
    """What one asker got: texts, how they came, and the ids."""

    def __init__(self, responses: list[InferenceResponse]):
        self.texts = [text for response in responses for text in said(response)]
        self.ids = {response.id for response in responses}
        self.marks = {response.parameters.cache for response in responses}

    @property
    def mark(self) -> str:
        (mark,) = self.marks
        return mark


async def stream(
    plane: StreamingDataPlane, request: InferenceRequest, model: str = "m", version: Any = None
) -> Said:
    """As an edge asks that knows of one request only."""
    async with aclosing(plane.infer_stream(One(request), model, version)) as responses:
        return Said([response async for response in responses])


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- hits --


async def test_the_second_time_the_model_is_not_asked(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        first = await stream(plane, ask("a b c", "1"))
        second = await stream(plane, ask("a b c", "2"))
        assert first.texts == second.texts == ["a", "b", "c"]
        assert (first.mark, second.mark) == ("miss", "hit")
        assert (first.ids, second.ids) == ({"1"}, {"2"})
        assert (await stream(plane, ask("a b", "3"))).mark == "miss"
    assert words.runs == 2


async def test_a_unary_call_is_its_stream_collected(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        await stream(plane, ask("a b c", "1"))
        unary = await plane.infer(ask("a b c", "2"), "m")
        assert said(unary) == ["a", "b", "c"]
        assert (unary.id, unary.parameters.cache) == ("2", "hit")
        other = await plane.infer(ask("d e", "3"), "m")
        assert (said(other), other.parameters.cache) == (["d", "e"], "miss")
        assert (await stream(plane, ask("d e"))).mark == "hit"
    assert words.runs == 2


class Once(MLModel):
    """Unary only, as most stock runtimes are."""

    runs = 0

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        type(self).runs += 1
        tensor = payload.inputs[0]
        if tensor.datatype != "BYTES":
            return answer(str(float(np.asarray(tensor.data.root).sum())))
        if asked(payload) == "fail":
            return failure("no", 422)
        response = answer(f"{self.name}: {asked(payload)}")
        if asked(payload) == "image":
            response.outputs[0].data = TensorData.model_construct(root=[b"\xff\xd8\xff"])
        return response


def once() -> Any:
    return type("Once", (Once,), {})


async def test_a_unary_model_s_answers_are_remembered_for_both_kinds_of_call(tmp_path: Path):
    model = once()
    async with plane_of(tmp_path, {"m": model}, cached=True) as plane:
        got = [await plane.infer(ask("a", id), "m") for id in ("1", "2", None)]
        assert [said(response) for response in got] == [["m: a"]] * 3
        assert [response.id for response in got[:2]] == ["1", "2"]
        assert [response.parameters.cache for response in got] == ["miss", "hit", "hit"]
        assert (await stream(plane, ask("a"))).mark == "hit"
        assert said(await plane.infer(ask("image"), "m")) == [b"\xff\xd8\xff"]
        assert said(await plane.infer(ask("image"), "m")) == [b"\xff\xd8\xff"]
    assert model.runs == 2


async def test_models_and_versions_are_kept_apart(tmp_path: Path):
    models = {"m/1": once(), "m/2": once(), "n": once()}
    async with plane_of(tmp_path, models, cached=True) as plane:
        for name, version in [("m", "1"), ("m", "2"), ("n", None)] * 2:
            assert said(await plane.infer(ask("a"), name, version)) == [f"{name}: a"]
    assert [model.runs for model in models.values()] == [1, 1, 1]


async def test_raw_tensors_and_json_ask_the_same(tmp_path: Path):
    def raw(id: str, data: Any) -> InferenceRequest:
        tensor = RequestInput.model_construct(
            name="x",
            datatype="FP32",
            shape=[2],
            parameters=None,
            data=TensorData.model_construct(root=data),
        )
        return InferenceRequest.model_construct(id=id, parameters=None, inputs=[tensor])

    model = once()
    async with plane_of(tmp_path, {"m": model}, cached=True) as plane:
        first = await plane.infer(raw("1", np.array([1, 2], "<f4")), "m")
        second = await plane.infer(raw("2", [1, 2.0]), "m")
        assert said(first) == said(second) == ["3.0"]
    assert model.runs == 1


async def test_a_model_that_does_not_say_so_is_asked_each_time(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cache_enabled=True) as plane:
        for _ in range(2):
            async with aclosing(plane.infer_stream(One(ask("a b")), "m")) as responses:
                got = [response async for response in responses]
            assert all(
                not response.parameters or "cache" not in response.parameters.model_extra
                for response in got
            )
    assert words.runs == 2


async def test_only_the_first_response_of_a_hit_carries_headers(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        for _ in range(2):
            async with aclosing(plane.infer_stream(One(ask("a b")), "m")) as responses:
                got = [response async for response in responses]
            assert [bool(response.parameters.headers) for response in got] == [True, False]


# -- what is not stored --


@pytest.mark.parametrize("text", ["a fail b", "a fail"])
async def test_an_answer_with_a_failure_is_not_remembered(
    tmp_path: Path, words: type[Words], text: str
):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        for _ in range(2):
            assert (await stream(plane, ask(text))).mark == "miss"
    assert words.runs == 2


@pytest.mark.parametrize(
    ("text", "error"), [("a raise", InternalError), ("a refuse", MLServerError)]
)
async def test_a_stream_that_breaks_is_not_remembered(
    tmp_path: Path, words: type[Words], text: str, error: type[Exception]
):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        for _ in range(2):
            with pytest.raises(error) as caught:
                await stream(plane, ask(text))
            assert "secret" not in str(caught.value)
        with pytest.raises(error):
            await plane.infer(ask(text), "m")
    assert words.runs == 3


async def test_a_stream_that_its_asker_left_is_not_remembered(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        responses = plane.infer_stream(One(ask("a wait b")), "m")
        assert said(await anext(responses)) == ["a"]
        await responses.aclose()
        await turns()
        assert words.closed == 1
        words.go.set()
        assert (await stream(plane, ask("a wait b"))).mark == "miss"
    assert words.runs == 2


async def test_a_stream_past_the_longest_is_given_and_not_remembered(
    tmp_path: Path, words: type[Words]
):
    (tmp_path / "settings.json").write_text(
        json.dumps({"streaming": {"cache": {"entry_bytes": 2048}}})
    )
    text = " ".join(f"word-{n}" for n in range(500))
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        for _ in range(2):
            got = await stream(plane, ask(text))
            assert (got.texts, got.mark) == (text.split(" "), "miss")
        # Once past it, the model waits for its reader.
        responses = plane.infer_stream(One(ask(text)), "m")
        await anext(responses)
        words.read.clear()
        await turns(1000)
        assert len(words.read) < 350
        await responses.aclose()
    assert words.runs == 3


# -- wishes --


async def test_skip_neither_reads_nor_stores(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        assert (await stream(plane, ask("a", cache="skip"))).mark == "miss"
        assert (await stream(plane, ask("a"))).mark == "miss"
        assert (await stream(plane, ask("a", cache="skip"))).mark == "miss"
        assert (await stream(plane, ask("a"))).mark == "hit"
    assert words.runs == 3


async def test_refresh_asks_the_model_and_stores(tmp_path: Path):
    class Counting(MLModel):
        runs = 0

        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            Counting.runs += 1
            return answer(str(Counting.runs))

    async with plane_of(tmp_path, {"m": Counting}, cached=True) as plane:
        asks: list[dict[str, Any]] = [{}, {}, {"cache": "refresh"}, {}]
        got = [await plane.infer(ask("a", **each), "m") for each in asks]
    assert [(*said(each), each.parameters.cache) for each in got] == [
        ("1", "miss"),
        ("1", "hit"),
        ("2", "miss"),
        ("2", "hit"),
    ]


class Drafts(MLModel):
    """What each run says, one text a response; "fail" fails that request, "raise" the run."""

    drafts: ClassVar[list[list[str]]] = []

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for _ in payloads:
            for text in type(self).drafts.pop(0):
                if text == "raise":
                    raise MLServerError("refused", 418)
                yield failure("failed", 422) if text == "fail" else answer(text)


async def after_a_refresh(
    folder: Path, refresh: list[str], extra: dict[str, Any] | None = None, **cache: Any
) -> str:
    """What an ordinary question brings after "old" was stored and a refresh said something."""
    (folder / "settings.json").write_text(json.dumps({"streaming": {"cache": cache}}))
    Drafts.drafts = [["old"], refresh, ["new"]]
    async with plane_of(folder, {"m": Drafts}, cached=True, extra=extra) as plane:
        assert (await stream(plane, ask())).texts == ["old"]
        try:
            await stream(plane, ask(cache="refresh"))
        except MLServerError as error:
            assert error.status_code == 418
        async with asyncio.timeout(10):
            while plane.cache._flights:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        (text,) = (await stream(plane, ask())).texts
        return text


LONG = "x" * 4096


@pytest.mark.parametrize(
    ("refresh", "cache"),
    [
        ([LONG], {"entry_bytes": 2048}),
        (["x"] * 2000, {"entry_bytes": 1024}),
        ([LONG], {"running_bytes": 4096}),
        ([LONG], {"bytes": 2048}),
        (["x"] * (MOST_KEPT + 1), {}),
    ],
)
async def test_a_refresh_too_long_to_keep_leaves_no_older_answer(
    tmp_path: Path, refresh: list[str], cache: dict[str, int]
):
    assert await after_a_refresh(tmp_path, refresh, **cache) == "new"


@needs_memcached
async def test_a_refresh_that_memcached_does_not_take_leaves_no_older_answer(tmp_path: Path):
    with Memcached() as server:
        cache = {"backend": "memcached", "servers": [server.address], "timeout_seconds": 1}
        small = {"value_bytes": 16 * 1024, "split": False, "compress_bytes": None}
        assert await after_a_refresh(tmp_path, ["x" * 20_000], **cache, **small) == "new"


@pytest.mark.parametrize("refresh", [["a", "raise"], ["a", "fail"], ["raise"]])
async def test_a_refresh_that_fails_removes_what_was_there_if_the_model_says_so(
    tmp_path: Path, refresh: list[str]
):
    assert await after_a_refresh(tmp_path, refresh) == "old"
    removes = {"cache_failed_refresh_removes": True}
    assert await after_a_refresh(tmp_path, refresh, removes) == "new"


async def test_an_older_run_that_is_lost_removes_nothing_that_a_newer_one_has_stored(
    tmp_path: Path, words: type[Words]
):
    (tmp_path / "settings.json").write_text(json.dumps({"streaming": {"cache": {"bytes": 2048}}}))
    gates = [asyncio.Event(), asyncio.Event()]
    texts = [LONG, "short"]

    class Gated(MLModel):
        async def predict_stream(
            self, payloads: AsyncIterator[InferenceRequest]
        ) -> AsyncIterator[InferenceResponse]:
            async for _ in payloads:
                gate, text = gates.pop(0), texts.pop(0)
                await gate.wait()
                yield answer(text)

    first, second = gates
    async with plane_of(tmp_path, {"m": Gated}, cached=True) as plane:
        older = asyncio.create_task(stream(plane, ask(cache="refresh")))
        await turns()
        newer = asyncio.create_task(stream(plane, ask(cache="refresh")))
        await turns()
        second.set()
        assert (await newer).texts == ["short"]
        first.set()
        assert (await older).texts == [LONG]
        await turns()
        assert (await stream(plane, ask())).texts == ["short"]


async def test_a_model_sees_no_wish(tmp_path: Path):
    class Shown(MLModel):
        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            return answer(json.dumps(payload.parameters.model_extra))

    async with plane_of(tmp_path, {"m": Shown}, cached=True) as plane:
        got = await plane.infer(ask(cache="refresh", cache_replay="paced", seed=1), "m")
    assert said(got) == ['{"seed": 1}']


async def test_a_paced_replay_takes_its_first_time(tmp_path: Path):
    class Slow(MLModel):
        async def predict_stream(self, payloads: Any) -> AsyncIterator[InferenceResponse]:
            async for request in payloads:
                for word in asked(request).split(" "):
                    await asyncio.sleep(0.05)
                    yield answer(word)

    async with plane_of(tmp_path, {"m": Slow}, cached=True) as plane:
        await stream(plane, ask("a b c"))
        # One that is not paced waits for nothing: it needs no more than a few turns of the loop.
        quick = asyncio.create_task(stream(plane, ask("a b c")))
        await turns()
        assert quick.done() and quick.result().mark == "hit"
        began = asyncio.get_running_loop().time()
        paced = await stream(plane, ask("a b c", cache_replay="paced"))
        assert asyncio.get_running_loop().time() - began >= 0.14
        assert (paced.texts, paced.mark) == (["a", "b", "c"], "hit")


async def test_a_long_answer_that_is_collected_lets_others_have_turns(
    tmp_path: Path, words: type[Words]
):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        text = " ".join(map(str, range(2000)))
        await stream(plane, ask(text))
        unary = asyncio.create_task(plane.infer(ask(text), "m"))
        await turns(5)
        assert not unary.done()
        assert len(said(await unary)) == 2000


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"cache": "always"}, '\'cache\' must be "skip" or "refresh"'),
        ({"cache": True}, '\'cache\' must be "skip" or "refresh"'),
        ({"cache_replay": "slow"}, "'cache_replay' must be \"paced\""),
        ({"cache_replay": 1.5}, "'cache_replay' must be \"paced\""),
    ],
)
async def test_a_wish_that_there_is_not_is_400(
    tmp_path: Path, words: type[Words], wish: dict[str, Any], told: str
):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        with pytest.raises(BadRequestError, match=told) as caught:
            await plane.infer(ask(**wish), "m")
        assert caught.value.status_code == 400
        with pytest.raises(BadRequestError, match=told):
            await stream(plane, ask(**wish))
    assert words.runs == 0


# -- joining --


async def test_who_asks_the_same_meanwhile_joins(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        first = plane.infer_stream(One(ask("a wait b", "1")), "m")
        assert said(await anext(first)) == ["a"]
        second = plane.infer_stream(One(ask("a wait b", "2")), "m")
        joined = await anext(second)
        assert (said(joined), joined.id, joined.parameters.cache) == (["a"], "2", "joined")
        unary = asyncio.create_task(plane.infer(ask("a wait b", "3"), "m"))
        await turns()
        words.go.set()
        assert [said(response) for response in [r async for r in first]] == [["b"]]
        assert [said(response) for response in [r async for r in second]] == [["b"]]
        assert said(await unary) == ["a", "b"]
        assert (await unary).parameters.cache == "joined"
    assert words.runs == 1


async def test_the_others_keep_a_run_alive_that_its_first_asker_left(
    tmp_path: Path, words: type[Words]
):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        first = asyncio.create_task(stream(plane, ask("a wait b", "1")))
        await turns()
        second = asyncio.create_task(stream(plane, ask("a wait b", "2")))
        await turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await turns()
        words.go.set()
        got = await second
        assert (got.texts, got.mark) == (["a", "b"], "joined")
        assert (await stream(plane, ask("a wait b"))).mark == "hit"
    assert words.runs == 1


async def test_when_the_last_one_leaves_the_run_ends(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        tasks = [asyncio.create_task(stream(plane, ask("a wait b"))) for _ in range(3)]
        await turns()
        for task in tasks:
            assert words.closed == 0
            task.cancel()
            await turns()
        assert words.closed == 1
        # One who asks at that moment begins anew.
        words.go.set()
        assert (await stream(plane, ask("a wait b"))).mark == "miss"


@pytest.mark.parametrize(
    ("text", "told"), [("a wait raise", "failed on request"), ("a wait refuse", "refused")]
)
async def test_a_model_that_fails_tells_all(
    tmp_path: Path, words: type[Words], text: str, told: str
):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        tasks = [asyncio.create_task(stream(plane, ask(text, str(n)))) for n in range(5)]
        await turns()
        words.go.set()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, MLServerError) and told in str(error) for error in errors)
    if told == "failed on request":
        assert [f"'{n}'" in str(error) for n, error in enumerate(errors)] == [True] * 5
    assert words.runs == 1


async def test_a_thousand_askers_of_one_slow_stream_cost_one_run(
    tmp_path: Path, words: type[Words]
):
    text = " ".join(["a", "wait", *map(str, range(20))])
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        tasks = [asyncio.create_task(stream(plane, ask(text, str(n)))) for n in range(1000)]
        await turns()
        words.go.set()
        everything = await asyncio.gather(*tasks)
    assert words.runs == 1
    assert all(got.texts == ["a", *map(str, range(20))] for got in everything)
    assert [got.ids for got in everything] == [{str(n)} for n in range(1000)]
    assert [got.mark for got in everything] == ["miss", *["joined"] * 999]


async def test_a_refresh_joins_nobody_and_what_it_brings_is_kept(tmp_path: Path):
    class Numbered(MLModel):
        runs = 0
        go = asyncio.Event()

        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            Numbered.runs += 1
            number = Numbered.runs
            if number == 1:
                await self.go.wait()
            return answer(str(number))

    async with plane_of(tmp_path, {"m": Numbered}, cached=True) as plane:
        old = asyncio.create_task(plane.infer(ask("a"), "m"))
        await turns()
        assert said(await plane.infer(ask("a", cache="refresh"), "m")) == ["2"]
        Numbered.go.set()
        assert said(await old) == ["1"]
        assert said(await plane.infer(ask("a"), "m")) == ["2"]


async def test_a_slow_reader_holds_up_neither_the_model_nor_the_others(
    tmp_path: Path, words: type[Words]
):
    text = " ".join(map(str, range(200)))
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        slow = plane.infer_stream(One(ask(text)), "m")
        await anext(slow)
        assert (await stream(plane, ask(text))).mark in ("joined", "hit")
        assert [*said(await anext(slow))] == ["1"]
        assert len([response async for response in slow]) == 198
    assert words.runs == 1


# -- several requests on a stream --


async def responses_to(
    plane: StreamingDataPlane, *requests: InferenceRequest
) -> list[tuple[str | None, str, str]]:
    async with aclosing(plane.infer_stream(stream_of(*requests), "m")) as responses:
        return [
            (each.id, *(said(each) or [each.parameters.error]), each.parameters.cache)
            if said(each)
            else (each.id, each.parameters.error, "")
            async for each in responses
        ]


async def test_requests_that_may_depend_on_one_another_are_not_remembered(
    tmp_path: Path, words: type[Words]
):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        for _ in range(2):
            got = await responses_to(plane, ask("a", "1"), ask("b", "2"))
            assert got == [("1", "a", "miss"), ("2", "b", "miss")]
        assert (await stream(plane, ask("a", sequence_id=1))).mark == "miss"
        assert (await stream(plane, ask("a", sequence_id=1))).mark == "miss"
        assert (await stream(plane, ask("a"))).mark == "miss"
    assert words.runs == 7


INDEPENDENT = {"cache_requests_independent": True}


async def test_independent_requests_of_a_stream_are_answered_each_from_where_it_can(
    tmp_path: Path, words: type[Words]
):
    async with plane_of(tmp_path, {"m": words}, cached=True, extra=INDEPENDENT) as plane:
        assert (await stream(plane, ask("b c"))).mark == "miss"
        # Equal ids and none: each response has its own request's.
        got = await responses_to(plane, ask("a", "x"), ask("b c", "x"), ask("d", ""), ask("a", "y"))
        assert [(id, text) for id, text, _ in got] == [
            ("x", "a"),
            ("x", "b"),
            ("x", "c"),
            ("", "d"),
            ("y", "a"),
        ]
        assert [mark for *_, mark in got][:4] == ["miss", "hit", "hit", "miss"]
        assert got[4][2] in ("hit", "joined")
    assert words.runs == 3


async def test_independent_requests_are_at_work_at_once_and_answered_in_order(
    tmp_path: Path, words: type[Words]
):
    async with plane_of(tmp_path, {"m": words}, cached=True, extra=INDEPENDENT) as plane:
        reader = asyncio.create_task(
            responses_to(plane, ask("wait a", "1"), ask("b", "2"), ask("c", "3"))
        )
        await turns()
        assert sorted(words.read) == ["b", "c", "wait"]
        words.go.set()
        assert [id for id, *_ in await reader] == ["1", "2", "3"]


async def test_a_wish_that_there_is_not_fails_one_request_of_several(
    tmp_path: Path, words: type[Words]
):
    async with plane_of(tmp_path, {"m": words}, cached=True, extra=INDEPENDENT) as plane:
        first, wrong, last = await responses_to(
            plane, ask("a", "1"), ask("b", "2", cache="no"), ask("c", "3")
        )
        assert (first, last) == (("1", "a", "miss"), ("3", "c", "miss"))
        assert wrong[0] == "2" and "skip" in wrong[1]


async def test_a_stream_that_is_left_ends_the_runs_of_all_its_requests(
    tmp_path: Path, words: type[Words]
):
    async with plane_of(tmp_path, {"m": words}, cached=True, extra=INDEPENDENT) as plane:
        responses = plane.infer_stream(stream_of(*(ask(f"a wait {n}") for n in range(8))), "m")
        await anext(responses)
        await turns()
        assert (words.runs, words.closed) == (8, 0)
        await responses.aclose()
        await turns()
        assert words.closed == 8


async def test_no_more_requests_are_begun_than_may_wait(tmp_path: Path, words: type[Words]):
    async with plane_of(tmp_path, {"m": words}, cached=True, extra=INDEPENDENT) as plane:
        responses = plane.infer_stream(stream_of(*(ask(f"a wait {n}") for n in range(80))), "m")
        await anext(responses)
        await turns(500)
        assert words.runs == plane.streaming.limits.buffered_responses
        await responses.aclose()


async def test_a_sequence_of_independent_requests_is_answered_between_its_start_and_end(
    tmp_path: Path, words: type[Words]
):
    def of(text: str, **flags: Any) -> InferenceRequest:
        return ask(text, sequence_id=7, **flags)

    async with plane_of(tmp_path, {"m": words}, cached=True, extra=INDEPENDENT) as plane:
        assert (await stream(plane, ask("a"))).mark == "miss"
        # The model has not heard of the sequence: it may have to refuse this.
        assert (await stream(plane, of("a"))).mark == "miss"
        assert (await stream(plane, of("a", sequence_start=True))).mark == "miss"
        assert (await stream(plane, of("a"))).mark == "hit"
        assert (await stream(plane, ask("a", sequence_id=8))).mark == "miss"
        assert (await stream(plane, of("a", sequence_end=True))).mark == "miss"
        assert (await stream(plane, of("a"))).mark == "miss"
    assert words.runs == 6


# -- who asks, and whom --


async def test_parameters_that_a_model_ignores_do_not_matter(tmp_path: Path, words: type[Words]):
    async with plane_of(
        tmp_path, {"m": words}, cached=True, extra={"cache_ignores": ["delay"]}
    ) as plane:
        assert (await stream(plane, ask("a", delay=1))).mark == "miss"
        assert (await stream(plane, ask("a", delay="2"))).mark == "hit"
        assert (await stream(plane, ask("a", seed=1))).mark == "miss"


@pytest.mark.parametrize("per_key", [True, False])
async def test_callers_answers_are_kept_apart_unless_the_settings_say_otherwise(
    tmp_path: Path, words: type[Words], per_key: bool
):
    (tmp_path / "settings.json").write_text(
        json.dumps({"streaming": {"cache": {"per_key": per_key}}})
    )

    async def as_caller(identity: str) -> str:
        # What is shown of them is the same.
        callers.set_current(Caller("jwt:aaa...", frozenset(), identity=identity))
        return (await stream(plane, ask("a"))).mark

    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        marks = [await asyncio.create_task(as_caller(who)) for who in ("a", "b", "a", "b")]
    assert marks == ["miss", "miss" if per_key else "hit", "hit", "hit"]


async def test_a_model_loaded_again_with_other_weights_gives_no_old_answers(
    tmp_path: Path, words: type[Words]
):
    weights = tmp_path / "weights"
    async with plane_of(tmp_path, {}) as plane:
        registry = plane._model_registry
        registry._model_initialiser = words

        async def mark_after(content: str) -> str:
            weights.write_text(content)
            await registry.load(
                ModelSettings(
                    name="m",
                    implementation=MLModel,
                    parameters=ModelParameters(uri=str(weights)),
                    cache_enabled=True,
                )
            )
            return (await stream(plane, ask("a"))).mark

        marks = [await mark_after(content) for content in ("old", "new", "new", "old")]
    assert marks == ["miss", "miss", "hit", "hit"]


async def test_a_reload_does_not_cut_a_run(tmp_path: Path, words: type[Words]):
    unloaded = []

    async def unload(self: MLModel) -> bool:
        unloaded.append(self)
        return True

    words.unload = unload  # type: ignore[method-assign]
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        first = asyncio.create_task(stream(plane, ask("a wait b")))
        await turns()
        second = asyncio.create_task(stream(plane, ask("a wait b")))
        await turns()
        first.cancel()
        await turns()
        await plane._model_registry.unload("m")
        await turns()
        assert unloaded == []
        words.go.set()
        assert (await second).texts == ["a", "b"]
        await turns()
        assert len(unloaded) == 1


async def test_nothing_of_a_run_is_left_when_all_have_what_they_asked(
    tmp_path: Path, words: type[Words]
):
    async with plane_of(tmp_path, {"m": words}, cached=True) as plane:
        for text in ("a b", "a fail", "raise"):
            await asyncio.gather(
                *(stream(plane, ask(text)) for _ in range(3)), return_exceptions=True
            )
        left = plane.infer_stream(One(ask("a wait")), "m")
        await anext(left)
        await left.aclose()
        await turns()
        gc.collect()
        cache = plane.cache
        assert cache._flights == {}
        assert cache._budget._left == plane.streaming.cache.running_bytes
        assert len(asyncio.all_tasks()) <= 2
