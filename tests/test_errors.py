"""Errors: their statuses over both protocols, and how a runtime fails one request."""

import logging
from typing import Any

import grpc
import pytest
from mlserver.errors import MLServerError
from mlserver.types import InferenceResponse, Parameters

from mlserver_streaming import errors
from mlserver_streaming.errors import InternalError, NoSuchModelError, NotReadyError, failure_of
from mlserver_streaming.rpc.errors import abort, answers_errors, status_of
from tests.streams.planes import answer, failure

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadRequestError("no."), 400),
        (errors.BadRequestError("no.", 415), 415),
        (NoSuchModelError("m", None), 404),
        (errors.TooLargeError("no."), 413),
        (errors.UnsupportedError("no."), 501),
        (NotReadyError("m"), 503),
        (InternalError("r"), 500),
    ],
)
def test_each_error_has_its_status_and_is_a_sentence(error: MLServerError, status: int) -> None:
    assert error.status_code == status
    assert str(error).endswith(".")


def test_an_unknown_model_is_named_and_the_way_to_the_known_ones_too() -> None:
    assert "model 'nope'" in str(NoSuchModelError("nope", None))
    assert "version '9' of model 'm'" in str(NoSuchModelError("m", "9"))
    assert "/v2/repository/index" in str(NoSuchModelError("m", None))


def test_a_failure_in_band_is_its_text_and_status() -> None:
    error = failure_of(failure("not a JPEG.", 422))
    assert (str(error), error.status_code) == ("not a JPEG.", 422)


@pytest.mark.parametrize("code", [None, 200, 99, 600, "422", True, 4.22])
def test_a_failure_with_an_impossible_status_is_500(code: Any) -> None:
    assert failure_of(failure("no.", code)).status_code == 500


@pytest.mark.parametrize(
    "response",
    [
        answer("a"),
        answer("a", error="only a parameter"),
        InferenceResponse(model_name="m", outputs=[]),
        InferenceResponse(model_name="m", outputs=[], parameters=Parameters(error_code=422)),
    ],
    ids=["answer", "answer with a parameter called error", "empty", "code without error"],
)
def test_an_ordinary_response_is_no_failure(response: InferenceResponse) -> None:
    assert failure_of(response) is None


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.INVALID_ARGUMENT),
        (401, Code.UNAUTHENTICATED),
        (403, Code.PERMISSION_DENIED),
        (404, Code.NOT_FOUND),
        (408, Code.DEADLINE_EXCEEDED),
        (413, Code.RESOURCE_EXHAUSTED),
        (422, Code.FAILED_PRECONDITION),
        (429, Code.RESOURCE_EXHAUSTED),
        (499, Code.CANCELLED),
        (500, Code.INTERNAL),
        (501, Code.UNIMPLEMENTED),
        (503, Code.UNAVAILABLE),
        (504, Code.DEADLINE_EXCEEDED),
        (418, Code.INVALID_ARGUMENT),
        (599, Code.INTERNAL),
        (200, Code.INTERNAL),
    ],
)
def test_every_status_has_its_code_in_grpc(status: int, code: grpc.StatusCode) -> None:
    assert status_of(MLServerError("no.", status)) is code


class Aborted(grpc.aio.AbortError):
    pass


class Context:
    """As much of a call's context as ending it needs."""

    def __init__(self, **metadata: str):
        self.metadata = metadata
        self.trailing: tuple[tuple[str, str], ...] = ()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(self.metadata.items())

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.trailing

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailing = metadata

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.code, self.details = code, details
        raise Aborted


@pytest.mark.parametrize("text", ["x" * 100_000, "é" * 100_000, "🦊" * 100_000, "\ud800" * 100_000])
async def test_a_long_error_fits_the_header_that_carries_it(text: str) -> None:
    context = Context()
    with pytest.raises(Aborted):
        await abort(context, MLServerError(text, 400))
    # Percent-encoded, a byte takes three. Peers refuse headers past 8 KiB.
    assert 300 < len(context.details.encode()) * 3 < 8000
    assert context.details[0] == (text[0] if text[0] != "\ud800" else "?")


@pytest.mark.parametrize(
    ("id", "returned"), [("an id", {"x-request-id": "an id"}), ("two\nlines", {}), ("", {})]
)
async def test_an_error_gives_the_caller_s_id_back(id: str, returned: dict[str, str]) -> None:
    context = Context(**{"x-request-id": id})
    with pytest.raises(Aborted):
        await abort(context, MLServerError("no.", 401))
    assert dict(context.trailing) == returned


async def test_an_error_leaves_what_the_call_has_said_already() -> None:
    context = Context(**{"x-request-id": "an id"})
    context.set_trailing_metadata((("ce-id", "1"), ("x-request-id", "an id")))
    with pytest.raises(Aborted):
        await abort(context, MLServerError("no.", 401))
    assert dict(context.trailing) == {"ce-id": "1", "x-request-id": "an id"}


async def call(raised: Exception) -> Context:
    @answers_errors
    async def method(servicer: Any, request: Any, context: Any) -> Any:
        raise raised

    context = Context()
    with pytest.raises(Aborted):
        await method(None, b"", context)
    return context


async def test_a_known_error_ends_a_call_with_its_text() -> None:
    context = await call(NotReadyError("m"))
    assert context.code is Code.UNAVAILABLE
    assert context.details == str(NotReadyError("m"))


async def test_an_unexpected_error_ends_a_call_with_a_fixed_phrase_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("mlserver")
    logger.addHandler(caplog.handler)
    try:
        context = await call(ValueError("a secret"))
    finally:
        logger.removeHandler(caplog.handler)
    assert context.code is Code.INTERNAL
    assert "secret" not in context.details
    assert "a secret" in caplog.text
