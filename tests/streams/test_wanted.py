"""The outputs that a request names, from models that do not look at what it names."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    RequestOutput,
    ResponseOutput,
)

from mlserver_streaming.errors import NoSuchOutputError, failure_of
from mlserver_streaming.streams.answers import One
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from mlserver_streaming.streams.wanted import HELD_RESPONSES, KEPT_WISHES
from tests.streams.planes import ask, asked, failure, plane_of, stream_of


def tensors(*names: str) -> list[ResponseOutput]:
    return [ResponseOutput(name=name, datatype="INT32", shape=[1], data=[1]) for name in names]


def wanting(*names: str, id: str = "r", text: str = "x", **parameters: Any) -> InferenceRequest:
    request = ask(text, id, **parameters)
    request.outputs = [RequestOutput(name=name) for name in names]
    return request


def names(response: InferenceResponse) -> list[str]:
    return [output.name for output in response.outputs]


class Plain(MLModel):
    """Gives a, b and c, the same response each time, whatever is named."""

    async def load(self) -> bool:
        self.answer = InferenceResponse(model_name="m", outputs=tensors("a", "b", "c"))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        if asked(payload) == "fail":
            return failure("no", 422)
        if asked(payload) == "end":
            return InferenceResponse(model_name="m", outputs=[])
        return self.answer


class Mixed(MLModel):
    """Streams one response for each word of the request, with the outputs that the word names."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            for number, word in enumerate(asked(request).split()):
                yield InferenceResponse(
                    model_name="m",
                    id=request.id,
                    outputs=tensors(*word.split("+")),
                    parameters={"number": number},
                )


class Declared(Mixed):
    async def load(self) -> bool:
        self.outputs = [MetadataTensor(name=n, datatype="INT32", shape=[1]) for n in "ab"]
        return True


async def one(plane: StreamingDataPlane, request: InferenceRequest) -> list[InferenceResponse]:
    async with aclosing(plane.infer_stream(One(request), "m")) as responses:
        return [response async for response in responses]


async def many(plane: StreamingDataPlane, *requests: InferenceRequest) -> list[InferenceResponse]:
    async with aclosing(plane.infer_stream(stream_of(*requests), "m")) as responses:
        return [response.model_copy() async for response in responses]


async def test_a_unary_answer_has_what_was_named_in_that_order(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Plain}) as plane:
        for named, given in [
            (["b"], ["b"]),
            (["c", "a"], ["c", "a"]),
            (["b", "b"], ["b"]),
            ([], ["a", "b", "c"]),
        ]:
            assert names(await plane.infer(wanting(*named), "m")) == given
            assert [names(each) for each in await one(plane, wanting(*named))] == [given]
        assert names(await plane.infer(ask(), "m")) == ["a", "b", "c"]


async def test_what_the_answer_lacks_is_400_and_the_sentence_names_what_there_is(
    tmp_path: Path,
) -> None:
    async with plane_of(tmp_path, {"m": Plain}) as plane:
        request = wanting("a", "zzz")
        for answer in (plane.infer(request, "m"), one(plane, request)):
            with pytest.raises(NoSuchOutputError) as caught:
                await answer
            assert caught.value.status_code == 400
            assert str(caught.value) == "Model 'm' gave no output 'zzz'; it gave 'a', 'b', 'c'."


async def test_failures_and_ends_of_sequences_have_no_outputs_to_choose_from(
    tmp_path: Path,
) -> None:
    async with plane_of(tmp_path, {"m": Plain}) as plane:
        with pytest.raises(MLServerError, match="no") as caught:
            await plane.infer(wanting("zzz", text="fail"), "m")
        assert caught.value.status_code == 422
        end = wanting("a", text="end", sequence_id=7, sequence_end=True)
        assert names(await plane.infer(end, "m")) == []
        with pytest.raises(NoSuchOutputError, match="no output 'a'; it gave none"):
            await plane.infer(wanting("a", text="end"), "m")


async def test_each_request_of_a_stream_has_its_own_wish(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Plain}) as plane:
        got = await many(
            plane,
            ask(id="1"),
            wanting("b", id="2"),
            wanting("zzz", id="3"),
            ask(id="4"),
            wanting("c", "a", id="5"),
        )
    assert [(each.id, names(each)) for each in got] == [
        ("1", ["a", "b", "c"]),
        ("2", ["b"]),
        ("3", []),
        ("4", ["a", "b", "c"]),
        ("5", ["c", "a"]),
    ]
    refused = failure_of(got[2])
    assert refused is not None
    assert refused.status_code == 400
    assert str(refused) == "Model 'm' gave no output 'zzz'; it gave 'a', 'b', 'c'."


@pytest.mark.parametrize("model", [Mixed, Declared])
async def test_outputs_may_come_in_some_responses_only(
    tmp_path: Path, model: type[MLModel]
) -> None:
    async with plane_of(tmp_path, {"m": model}) as plane:
        got = await one(plane, wanting("b", text="a a+b a b+a"))
        assert [names(each) for each in got] == [[], ["b"], [], ["b"]]
        # Nothing else of a response is lost.
        assert [each.parameters.model_extra["number"] for each in got] == [0, 1, 2, 3]
        several = await many(plane, wanting("b", id="1", text="a a+b"), ask("a", "2"))
        assert [(each.id, names(each)) for each in several] == [
            ("1", []),
            ("1", ["b"]),
            ("2", ["a"]),
        ]


@pytest.mark.parametrize("model", [Mixed, Declared])
async def test_an_output_of_no_response_is_400_before_anything_is_sent(
    tmp_path: Path, model: type[MLModel]
) -> None:
    async with plane_of(tmp_path, {"m": model}) as plane:
        responses = plane.infer_stream(One(wanting("zzz", text="a b a+b")), "m")
        with pytest.raises(NoSuchOutputError, match="no output 'zzz'"):
            await anext(responses)


async def test_what_the_metadata_does_not_have_fails_its_request_alone(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Declared}) as plane:
        got = await many(
            plane, wanting("a", "zzz", id="1", text="a b a"), wanting("a", id="2", text="a")
        )
    assert [(each.id, names(each), failure_of(each) is None) for each in got] == [
        ("1", [], False),
        ("2", ["a"], True),
    ]


async def test_what_never_came_fails_its_request_at_the_end(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Mixed}) as plane:
        got = await many(
            plane, wanting("a", "b", id="1", text="a a"), wanting("a", id="2", text="a")
        )
    assert [(each.id, names(each), failure_of(each) is None) for each in got] == [
        ("1", ["a"], True),
        ("1", ["a"], True),
        ("2", ["a"], True),
        ("1", [], False),
    ]


async def test_responses_are_not_held_back_without_end(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Mixed}) as plane:
        many_words = " ".join("a" * (HELD_RESPONSES + 2))
        got = []
        with pytest.raises(NoSuchOutputError):
            async for each in plane.infer_stream(One(wanting("b", text=many_words)), "m"):
                got.append(names(each))
        assert got == [[]] * (HELD_RESPONSES + 2)


async def test_wishes_of_an_endless_stream_are_forgotten(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Plain}) as plane:
        requests = [wanting("b", id=str(number)) for number in range(KEPT_WISHES + 9)]
        got = await many(plane, *requests)
    assert {tuple(names(each)) for each in got} == {("b",)}


async def test_a_cached_answer_is_whole_for_who_asks_otherwise(tmp_path: Path) -> None:
    async with plane_of(tmp_path, {"m": Mixed}, cached=True) as plane:
        for named, given in [(["b"], ["b"]), (["b"], ["b"]), (["a"], ["a"]), ([], ["a", "b"])]:
            got = await one(plane, wanting(*named, text="a+b"))
            assert [names(each) for each in got] == [given]
            assert names(await plane.infer(wanting(*named, text="a+b"), "m")) == given
