"""Sequences belong to their callers: ids that two have chosen alike are two sequences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.access.callers import INFER, Caller, set_current
from mlserver_streaming.errors import MLServerError
from mlserver_streaming.models import Sequence, StreamingModel
from mlserver_streaming.models.owned_id import OwnedId
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from tests.streams.planes import answer, ask, asked, plane_of, said, stream_of

START, END = {"sequence_start": True}, {"sequence_end": True}
A, B = (Caller(name, frozenset({INFER})) for name in ("a", "b"))


class Ours(StreamingModel):
    """Answers with all texts of the sequence so far."""

    async def respond(
        self, request: InferenceRequest, sequence: Sequence | None
    ) -> AsyncIterator[InferenceResponse]:
        if sequence is None:
            yield answer("alone")
            return
        sequence.state = [*(sequence.state or []), asked(request)]
        yield answer("".join(sequence.state), sequence_id=sequence.id)


class Stock(MLModel):
    """Keeps a table of its own, and answers with its request's own parameters."""

    async def load(self) -> bool:
        self.texts: dict[Any, str] = {}
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = answer(self._add(payload))
        found.parameters = payload.parameters
        return found

    def _add(self, payload: InferenceRequest) -> str:
        id = payload.parameters.sequence_id
        self.texts[id] = self.texts.get(id, "") + asked(payload)
        return self.texts[id]


class StockStream(Stock):
    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for payload in payloads:
            for _ in range(2):
                found = answer(self._add(payload))
                found.parameters = payload.parameters
                yield found


MODELS = {"ours": Ours, "stock": Stock, "stock-stream": StockStream}


async def infer(
    plane: StreamingDataPlane, caller: Caller | None, model: str, request: InferenceRequest
) -> InferenceResponse:
    """What a caller's call comes to; each call is a task of its own, as at the edges."""

    async def call() -> InferenceResponse:
        if caller is not None:
            set_current(caller)
        return await plane.infer(request, model)

    return await asyncio.create_task(call())


async def refusal(plane: StreamingDataPlane, caller: Caller, request: InferenceRequest) -> str:
    with pytest.raises(MLServerError) as caught:
        await infer(plane, caller, "ours", request)
    assert caught.value.status_code == 400
    return str(caught.value)


async def stream(
    plane: StreamingDataPlane, caller: Caller, model: str, *requests: InferenceRequest
) -> list[InferenceResponse]:
    async def call() -> list[InferenceResponse]:
        set_current(caller)
        async with aclosing(plane.infer_stream(stream_of(*requests), model)) as responses:
            return [response async for response in responses]

    return await asyncio.create_task(call())


def named(response: InferenceResponse) -> Any:
    assert response.parameters is not None
    return (response.parameters.model_extra or {}).get("sequence_id")


@pytest.mark.parametrize("id", [7, "7", "é/x", "x" * 128, 2**64 - 1])
@pytest.mark.parametrize("cached", [False, True])
async def test_nobody_goes_on_with_ends_or_learns_of_another_s_sequence(
    tmp_path: Path, id: Any, cached: bool
):
    async with plane_of(tmp_path, MODELS, cached=cached) as plane:
        first = await infer(plane, A, "ours", ask("1", sequence_id=id, **START))
        assert (said(first), named(first)) == (["1"], id)
        for flags in ({}, END):
            text = await refusal(plane, B, ask("x", sequence_id=id, **flags))
            assert text == (
                f"inference request for sequence {id} to model 'ours' must specify the START flag "
                "on the first request of the sequence"
            )
        other = await infer(plane, B, "ours", ask("one", sequence_id=id, **START))
        assert (said(other), named(other)) == (["one"], id)
        assert "is under way" in await refusal(plane, A, ask("x", sequence_id=id, **START))
        model = await plane.model("ours")
        assert len(model.sequences) == 2
        assert said(await infer(plane, B, "ours", ask("two", sequence_id=id, **END))) == ["onetwo"]
        assert said(await infer(plane, A, "ours", ask("2", sequence_id=id))) == ["12"]
        assert len(model.sequences) == 1


@pytest.mark.parametrize("model", ["stock", "stock-stream"])
@pytest.mark.parametrize("id", [7, "7", 1.5, True, -1, ["a"], "x" * 1000])
async def test_a_stock_model_that_keeps_a_table_of_ids_keeps_callers_apart(
    tmp_path: Path, model: str, id: Any
):
    async with plane_of(tmp_path, MODELS) as plane:
        found = {}
        for caller in (A, B, A):
            responses = await stream(
                plane, caller, model, ask("1", sequence_id=id), ask("2", sequence_id=id)
            )
            assert [named(each) for each in responses] == [id] * len(responses)
            found.setdefault(caller.name, []).append(said(responses[-1]))
    whole = "12" if model == "stock" else "1122"
    assert found == {"a": [[whole], [whole * 2]], "b": [[whole]]}


@pytest.mark.parametrize("id", [0, "", None])
async def test_no_sequence_stays_none(tmp_path: Path, id: Any):
    async with plane_of(tmp_path, MODELS) as plane:
        assert said(await infer(plane, A, "ours", ask("1", sequence_id=id))) == ["alone"]


@pytest.mark.parametrize("id", [1.5, -1, 2**64, "x" * 129, ["x"], {"x": 1}, True])
async def test_what_is_no_id_is_refused_as_it_was_sent_and_the_stream_goes_on(
    tmp_path: Path, id: Any
):
    async with plane_of(tmp_path, MODELS) as plane:
        refused, answered = await stream(
            plane, A, "ours", ask("1", sequence_id=id), ask("2", id="s")
        )
        alone = await infer(plane, None, "stock", ask("1", sequence_id=7))
        assert named(alone) == 7
        with pytest.raises(MLServerError) as caught:
            await infer(plane, None, "ours", ask("1", sequence_id=id))
    assert refused.parameters is not None
    assert refused.parameters.error == str(caught.value)
    assert refused.parameters.error_code == 400
    assert said(answered) == ["alone"]


async def test_an_id_as_deep_as_no_id_is_refused(tmp_path: Path):
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    request = ask("1", sequence_id=1)
    assert request.parameters is not None
    request.parameters.sequence_id = deep
    async with plane_of(tmp_path, MODELS) as plane:
        text = await refusal(plane, A, request)
    assert text == "Parameter 'sequence_id' must be a whole number or text."
    while deep:  # to let it go at once would need as deep a stack
        (deep,) = deep


async def test_without_keys_a_model_sees_the_id_that_was_sent(tmp_path: Path):
    class Shows(MLModel):
        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            id = payload.parameters.sequence_id
            return answer(f"{type(id).__name__} {id}", sequence_id=id)

    async with plane_of(tmp_path, {"m": Shows}) as plane:
        for id in (7, "7", f"{A.identity}/7"):
            found = await infer(plane, None, "m", ask(sequence_id=id))
            assert (said(found), named(found)) == ([f"{type(id).__name__} {id}"], id)
        [seen] = said(await infer(plane, A, "m", ask(sequence_id=7)))
    assert seen == f"OwnedId {A.identity}/7"


async def test_an_id_that_looks_like_an_owned_one_is_given_back_as_it_was(tmp_path: Path):
    id = f"{A.identity}/7"
    async with plane_of(tmp_path, MODELS) as plane:
        found = await infer(plane, A, "ours", ask("1", sequence_id=id, **START))
        assert named(found) == id


async def test_what_a_model_has_made_of_an_id_harms_nothing(tmp_path: Path):
    class Cuts(MLModel):
        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            return answer("x", sequence_id=payload.parameters.sequence_id[:-1])

    async with plane_of(tmp_path, {"m": Cuts}) as plane:
        assert named(await infer(plane, A, "m", ask(sequence_id="abc"))) == '"abc'


async def test_an_answer_from_the_cache_names_the_sequence_of_who_asked(tmp_path: Path):
    (tmp_path / "settings.json").write_text(
        json.dumps({"streaming": {"cache": {"per_key": False}}})
    )

    class Independent(StreamingModel):
        async def respond(
            self, request: InferenceRequest, sequence: Sequence | None
        ) -> AsyncIterator[InferenceResponse]:
            known = {} if sequence is None else {"sequence_id": sequence.id}
            yield answer(asked(request), **known)

    extra = {"cache_requests_independent": True}
    async with plane_of(tmp_path, {"m": Independent}, cached=True, extra=extra) as plane:
        for caller, id in ((A, 7), (A, 8), (B, 7)):
            await infer(plane, caller, "m", ask("start", sequence_id=id, **START))
        found = [
            await infer(plane, caller, "m", ask("same", sequence_id=id))
            for caller, id in ((A, 7), (A, 8), (B, 7), (B, None))
        ]
    assert [each.parameters.cache for each in found if each.parameters] == ["miss"] + ["hit"] * 3
    assert [named(each) for each in found] == [7, 8, 7, None]


def test_an_owned_id_says_what_was_sent():
    for id in (7, "7", 'é/"x', 2**64):
        assert OwnedId.of(A.identity, id).sent == id
    assert len({OwnedId.of(who, id) for who in ("a", "b") for id in (7, "7", 7.0)}) == 6
