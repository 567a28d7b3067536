"""One stream from its first request to its last response."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import pytest
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse
from prometheus_client import REGISTRY

from mlserver_streaming.errors import (
    InternalError,
    NoSuchModelError,
    NotReadyError,
    RequestFailedError,
    UnsupportedError,
)
from mlserver_streaming.streams.data_plane import EXTENSIONS, StreamingDataPlane
from tests.streams.planes import answer, ask, asked, failure, plane_of, said, stream_of

SECRET = "a secret that no client may see"


class Serve(Protocol):
    def __call__(
        self, models: dict[str, type[MLModel]], **settings: Any
    ) -> AbstractAsyncContextManager[StreamingDataPlane]: ...


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    return lambda models, **settings: plane_of(tmp_path, models, **settings)


async def responses_of(
    plane: StreamingDataPlane, *requests: InferenceRequest, model: str = "m"
) -> list[InferenceResponse]:
    async with aclosing(plane.infer_stream(stream_of(*requests), model)) as responses:
        return [response async for response in responses]


class Twice(MLModel):
    """Streams only: each request's text, two times, without an id."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            for number in (1, 2):
                yield answer(f"{asked(request)}{number}")


class Once(MLModel):
    """Unary only, as most stock runtimes are."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        return answer(asked(payload))


# -- ids --


async def test_a_response_without_an_id_gets_that_of_the_request_read_last(serve: Serve) -> None:
    async with serve({"m": Twice}) as plane:
        got = await responses_of(plane, ask("a", "1"), ask("b", "2"))
    assert [(response.id, *said(response)) for response in got] == [
        ("1", "a1"),
        ("1", "a2"),
        ("2", "b1"),
        ("2", "b2"),
    ]


async def test_an_id_that_the_model_gives_is_kept(serve: Serve) -> None:
    class Later(MLModel):
        """Answers in the end, last request first."""

        async def predict_stream(self, payloads: Any) -> AsyncIterator[InferenceResponse]:
            for request in reversed([request async for request in payloads]):
                yield answer(asked(request), id=request.id)

    async with serve({"m": Later}) as plane:
        got = await responses_of(plane, ask("a", "1"), ask("b", "2"))
    assert [(response.id, *said(response)) for response in got] == [("2", "b"), ("1", "a")]


async def test_a_request_without_an_id_gets_one_of_its_own(serve: Serve) -> None:
    async with serve({"m": Twice}) as plane:
        a1, a2, b1, _ = await responses_of(plane, ask("a", None), ask("b", None))
        unary = await plane.infer(ask("c", None), "m")
    assert a1.id and a1.id == a2.id
    assert len({a1.id, b1.id, unary.id}) == 3


async def test_a_unary_response_has_its_request_s_id_whatever_the_model_says(serve: Serve) -> None:
    class Stubborn(MLModel):
        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            return answer("a", id="mine")

    async with serve({"m": Stubborn}) as plane:
        assert (await plane.infer(ask(id="yours"), "m")).id == "yours"
        (streamed,) = await responses_of(plane, ask(id="yours"))
        assert streamed.id == "yours"


async def test_only_the_first_response_carries_headers(serve: Serve) -> None:
    async with serve({"m": Twice}) as plane:
        first, *rest = await responses_of(plane, ask("a"), ask("b"))
        unary = await plane.infer(ask(), "m")
    for response in (first, unary):
        assert response.parameters.headers["Ce-Modelid"] == "m"
    assert [response.parameters for response in rest] == [None] * 3


# -- shapes of calls --


async def test_a_model_that_only_streams_answers_a_unary_call_with_all_it_says(
    serve: Serve,
) -> None:
    async with serve({"m": Twice}) as plane:
        response = await plane.infer(ask("a"), "m")
    assert said(response) == ["a1", "a2"]
    assert [output.shape for output in response.outputs] == [[2]]


async def test_a_model_that_only_predicts_answers_a_stream_request_by_request(
    serve: Serve,
) -> None:
    async with serve({"m": Once}) as plane:
        got = await responses_of(plane, ask("a", "1"), ask("b", "2"), ask("c", "3"))
        assert [(response.id, *said(response)) for response in got] == [
            ("1", "a"),
            ("2", "b"),
            ("3", "c"),
        ]
        assert said(await plane.infer(ask("d"), "m")) == ["d"]


async def test_a_model_that_does_both_is_asked_the_way_the_client_asks(serve: Serve) -> None:
    class Both(Twice, Once):
        pass

    async with serve({"m": Both}) as plane:
        assert said(await plane.infer(ask("a"), "m")) == ["a"]
        assert len(await responses_of(plane, ask("a"))) == 2


async def test_a_model_that_does_neither_is_501(serve: Serve) -> None:
    async with serve({"m": MLModel}) as plane:
        with pytest.raises(UnsupportedError, match="'m'") as caught:
            await plane.infer(ask(), "m")
        assert caught.value.status_code == 501
        with pytest.raises(UnsupportedError):
            await responses_of(plane, ask())


async def test_no_requests_and_no_responses_are_legal(serve: Serve) -> None:
    class Silent(MLModel):
        async def predict_stream(self, payloads: Any) -> AsyncIterator[InferenceResponse]:
            async for _ in payloads:
                pass
            return
            yield

    async with serve({"m": Silent, "twice": Twice}) as plane:
        assert await responses_of(plane, model="twice") == []
        assert await responses_of(plane, ask()) == []
        assert (await plane.infer(ask(id="1"), "m")).outputs == []


async def test_a_predict_stream_that_returns_any_iterator_works(serve: Serve) -> None:
    """Stock MLServer asks no more of it than that."""

    class Iterator:
        def __init__(self, payloads: AsyncIterator[InferenceRequest]):
            self.payloads = payloads

        def __aiter__(self) -> "Iterator":
            return self

        async def __anext__(self) -> InferenceResponse:
            return answer(asked(await anext(self.payloads)))

    class Returning(MLModel):
        def predict_stream(self, payloads: Any) -> Any:
            return Iterator(payloads)

    async with serve({"m": Returning}) as plane:
        got = await responses_of(plane, ask("a", "1"), ask("b", "2"))
        assert [(response.id, *said(response)) for response in got] == [("1", "a"), ("2", "b")]
        assert said(await plane.infer(ask("c"), "m")) == ["c"]


# -- errors --


class Breaking(MLModel):
    """Does what its requests say."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            match asked(request):
                case "raise":
                    raise ValueError(SECRET)
                case "refuse":
                    raise MLServerError("refused, and said so", 418)
                case "fail":
                    yield failure("this one failed", 422)
                case other:
                    yield answer(other)


async def test_a_failed_request_is_a_response_of_a_stream_and_the_error_of_a_unary_call(
    serve: Serve,
) -> None:
    async with serve({"m": Breaking}) as plane:
        failed, good = await responses_of(plane, ask("fail", "1"), ask("a", "2"))
        with pytest.raises(RequestFailedError, match="this one failed") as caught:
            await plane.infer(ask("fail"), "m")
    assert (failed.id, failed.outputs) == ("1", [])
    assert failed.parameters.model_extra == {"error": "this one failed", "error_code": 422}
    assert said(good) == ["a"]
    assert caught.value.status_code == 422


async def test_a_unary_model_may_fail_in_band_too(serve: Serve) -> None:
    class Failing(MLModel):
        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            return failure("full", 429)

    async with serve({"m": Failing}) as plane:
        with pytest.raises(RequestFailedError, match="full") as caught:
            await plane.infer(ask(), "m")
    assert caught.value.status_code == 429


async def test_an_error_for_the_caller_keeps_its_text_and_status(serve: Serve) -> None:
    async with serve({"m": Breaking}) as plane:
        for call in (plane.infer(ask("refuse"), "m"), responses_of(plane, ask("refuse"))):
            with pytest.raises(MLServerError, match="refused, and said so") as caught:
                await call
            assert caught.value.status_code == 418


@pytest.mark.parametrize("unary", [True, False])
async def test_an_unexpected_error_is_logged_in_full_and_answered_with_a_fixed_phrase(
    serve: Serve, unary: bool, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("mlserver")
    logger.addHandler(caplog.handler)
    try:
        async with serve({"m": Breaking}) as plane:
            call = (
                plane.infer(ask("raise", "the-id"), "m")
                if unary
                else responses_of(plane, ask("a", "before"), ask("raise", "the-id"))
            )
            with pytest.raises(InternalError) as caught:
                await call
    finally:
        logger.removeHandler(caplog.handler)
    assert caught.value.status_code == 500
    assert "'the-id'" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "'the-id'" in caplog.text
    assert SECRET in caplog.text
    assert "Traceback" in caplog.text


async def test_an_unexpected_error_before_any_request_has_an_id_to_look_for(serve: Serve) -> None:
    class Broken(MLModel):
        async def predict_stream(self, payloads: Any) -> AsyncIterator[InferenceResponse]:
            raise ValueError(SECRET)
            yield

    async with serve({"m": Broken}) as plane:
        with pytest.raises(InternalError) as caught:
            await responses_of(plane, ask())
    assert "''" not in str(caught.value) and "None" not in str(caught.value)


async def test_an_unknown_model_or_version_is_404(serve: Serve) -> None:
    async with serve({"m/1": Once, "m/2": Twice}) as plane:
        for name, version, what in [
            ("n", None, "model 'n'"),
            ("", None, "model ''"),
            ("m", "3", "version '3' of model 'm'"),
        ]:
            with pytest.raises(NoSuchModelError, match=what) as caught:
                await plane.infer(ask(), name, version)
            assert caught.value.status_code == 404
            with pytest.raises(NoSuchModelError):
                await anext(plane.infer_stream(stream_of(ask()), name, version))


async def test_versions_of_a_model_are_models_of_their_own(serve: Serve) -> None:
    async with serve({"m/1": Once, "m/2": Twice}) as plane:
        assert said(await plane.infer(ask("a"), "m", "1")) == ["a"]
        assert said(await plane.infer(ask("a"), "m", "2")) == ["a1", "a2"]
        # No version, and gRPC's empty one, is the newest.
        assert said(await plane.infer(ask("a"), "m")) == ["a1", "a2"]
        assert said(await plane.infer(ask("a"), "m", "")) == ["a1", "a2"]


async def test_a_model_that_is_not_ready_is_503(serve: Serve) -> None:
    async with serve({"m": Once}) as plane:
        (await plane.model("m")).ready = False
        with pytest.raises(NotReadyError, match="not ready yet") as caught:
            await plane.infer(ask(), "m")
        assert caught.value.status_code == 503
        with pytest.raises(NotReadyError):
            await responses_of(plane, ask())


# -- turns and ends --


class Endless(MLModel):
    """Never awaits, never ends; knows which of its generators are open."""

    async def load(self) -> bool:
        self.open: set[str] = set()
        self.steps = 0
        return True

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        request = await anext(payloads)
        self.open.add(request.id)
        try:
            while True:
                self.steps += 1
                yield answer("again")
        finally:
            self.open.discard(request.id)


async def test_streams_that_never_await_take_turns(serve: Serve) -> None:
    order: list[str] = []

    async def read(plane: StreamingDataPlane, id: str) -> None:
        async with aclosing(plane.infer_stream(stream_of(ask(id=id)), "m")) as responses:
            async for response in responses:
                order.append(response.id)
                if len(order) >= 10_000:
                    return

    async with serve({"m": Endless}) as plane:
        await asyncio.gather(read(plane, "a"), read(plane, "b"))
    # The first response of each comes at once, and neither waits long for its next.
    assert set(order[:2]) == {"a", "b"}
    assert max(len(list(run)) for _, run in groupby(order)) < 1000


async def test_a_stream_that_never_awaits_can_be_cancelled_and_is_closed(serve: Serve) -> None:
    async with serve({"m": Endless}) as plane:
        model: Any = await plane.model("m")
        reader = asyncio.create_task(responses_of(plane, ask(id="a")))
        for _ in range(100):
            await asyncio.sleep(0)
        assert model.steps > 10
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        steps = model.steps
        assert model.open == set()
        await asyncio.sleep(0)
        assert model.steps == steps


async def test_closing_a_stream_closes_the_model_s_generator(serve: Serve) -> None:
    async with serve({"m": Endless}) as plane:
        model: Any = await plane.model("m")
        responses = plane.infer_stream(stream_of(ask(id="a")), "m")
        await anext(responses)
        assert model.open == {"a"}
        await responses.aclose()
        assert model.open == set()


async def test_a_unary_call_that_is_cancelled_closes_the_model_s_generator(serve: Serve) -> None:
    waiting = asyncio.Event()
    closed = asyncio.Event()

    class Waiting(MLModel):
        async def predict_stream(self, payloads: Any) -> AsyncIterator[InferenceResponse]:
            try:
                yield answer("a")
                waiting.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

    async with serve({"m": Waiting}) as plane:
        call = asyncio.create_task(plane.infer(ask(), "m"))
        await waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert closed.is_set()


async def test_what_a_model_did_is_counted(serve: Serve) -> None:
    def count(what: str) -> float:
        labels = {"model": "m", "version": "7"}
        return REGISTRY.get_sample_value(f"model_infer_request_{what}", labels) or 0

    async with serve({"m/7": Breaking}) as plane:
        await responses_of(plane, ask("a"), ask("b"))
        await plane.infer(ask("a"), "m")
        for text in ("raise", "refuse", "fail"):
            with pytest.raises(MLServerError):
                await plane.infer(ask(text), "m")
        assert count("success_total") == 2
        assert count("failure_total") == 3
        assert count("duration_count") == 5


async def test_metadata_says_that_sequences_are_kept(serve: Serve) -> None:
    async with serve({}) as plane:
        for _ in range(2):  # not once more with every question
            extensions = (await plane.metadata()).extensions
            assert extensions == list(EXTENSIONS)
            assert {"sequence", "sequence(string_id)", "statistics", "logging"} <= set(extensions)


# -- what each model did --


class Picky(MLModel):
    """Fails what says so: as its own, or all."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        if asked(payload) == "raise":
            raise MLServerError("no", 400)
        return failure("no", 400) if asked(payload) == "fail" else answer(asked(payload))


def counted(plane: StreamingDataPlane, model: MLModel) -> tuple[int, int]:
    served = plane.served(model)
    return served.successes, served.failures


async def test_each_request_of_any_call_counts_once(serve: Serve) -> None:
    async with serve({"m": Picky, "m/1": Picky}) as plane:
        model = await plane.model("m")
        await plane.infer(ask("a"), "m")
        assert counted(plane, model) == (1, 0)
        for text in ("fail", "raise"):
            with pytest.raises(MLServerError, match="no"):
                await plane.infer(ask(text), "m")
        assert counted(plane, model) == (1, 2)
        await responses_of(plane, ask("a", "1"), ask("fail", "2"), ask("b", "3"))
        assert counted(plane, model) == (3, 3)
        with pytest.raises(MLServerError, match="no"):
            await responses_of(plane, ask("a", "1"), ask("raise", "2"))
        assert counted(plane, model) == (4, 4)
        served = plane.served(model)
        assert served.success_ns > 0 < served.failure_ns
        assert served.last_ms > 0
        assert counted(plane, await plane.model("m", "1")) == (0, 0)


async def test_a_stream_that_is_given_up_has_failed(serve: Serve) -> None:
    async with serve({"m": Twice}) as plane:
        async with aclosing(plane.infer_stream(stream_of(ask()), "m")) as responses:
            await anext(responses)
        assert counted(plane, await plane.model("m")) == (0, 1)


# -- versions --


async def test_metadata_offers_the_versions_that_are_there(serve: Serve) -> None:
    async with serve({"m/1": Once, "m/2": Twice, "n": Once}) as plane:
        for version in (None, "1", "2"):
            assert (await plane.model_metadata("m", version)).versions == ["2", "1"]
        assert (await plane.model_metadata("n")).versions == []
        (await plane.model("m", "1")).ready = False
        assert (await plane.model_metadata("m")).versions == ["2"]
