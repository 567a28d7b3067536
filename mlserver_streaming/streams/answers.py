"""What a model answers, whichever of `predict` and `predict_stream` it has."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from ..errors import UnsupportedError
from ..settings import LimitSettings
from .collect import collect


def overrides(model: MLModel, method: str) -> bool:
    """Whether a runtime brings its own `predict` or `predict_stream`."""
    return getattr(type(model), method) is not getattr(MLModel, method)


def is_decoupled(model: MLModel) -> bool:
    """Whether a model has a stream of responses to give; one in workers says so itself."""
    found: bool = getattr(model, "is_decoupled", overrides(model, "predict_stream"))
    return found


def is_unary(model: MLModel) -> bool:
    """Whether a model has a `predict` of its own; one in workers says so itself."""
    found: bool = getattr(model, "is_unary", overrides(model, "predict"))
    return found


async def predict(
    model: MLModel, request: InferenceRequest, limits: LimitSettings
) -> InferenceResponse:
    """The one answer to a request; a stream-only model's responses are collected into one.

    Raises:
        UnsupportedError: the model has neither method, or its responses do not fit into one.
        TooLargeError: they are more than `limits` let one call collect.
    """
    if overrides(model, "predict"):
        return await model.predict(request)
    async with aclosing(stream(model, One(request))) as responses:
        return await collect(model, responses, limits)


def stream(model: MLModel, requests: Any) -> AsyncGenerator[InferenceResponse, None]:
    """The responses to a stream of requests; a unary-only model gives one for each.

    Raises:
        UnsupportedError: the model has neither method.
    """
    if overrides(model, "predict_stream"):
        responses = model.predict_stream(requests)
        # Written with `yield` it is a generator, but any iterator will do.
        return responses if isinstance(responses, AsyncGenerator) else _iterated(responses)
    if overrides(model, "predict"):
        return _predictions(model, requests)
    raise UnsupportedError(f"Model '{model.name}' answers no inference requests.")


def can_resume(model: MLModel) -> bool:
    """Whether a model can go on behind what it has said."""
    return hasattr(model, "resume_from")


async def resumed(
    model: Any, requests: Any, said: Sequence[InferenceResponse]
) -> AsyncGenerator[InferenceResponse, None]:
    """The responses behind those that were said to the only one of the requests."""
    found = model.resume_from(await anext(requests), said)
    async with aclosing(found if isinstance(found, AsyncGenerator) else _iterated(found)) as rest:
        async for response in rest:
            yield response


class One:
    """A stream of one request, and known to be.

    Attributes:
        is_over: whether nothing more comes.
    """

    __slots__ = ("_request", "is_over")

    def __init__(self, request: InferenceRequest):
        self.is_over = False
        self._request = request

    def __aiter__(self) -> "One":
        return self

    async def __anext__(self) -> InferenceRequest:
        if self.is_over:
            raise StopAsyncIteration
        self.is_over = True
        return self._request


async def _iterated(
    responses: AsyncIterator[InferenceResponse],
) -> AsyncGenerator[InferenceResponse, None]:
    async for response in responses:
        yield response


async def _predictions(
    model: MLModel, requests: AsyncIterator[InferenceRequest]
) -> AsyncGenerator[InferenceResponse, None]:
    async for request in requests:
        response = await model.predict(request)
        response.id = request.id
        yield response
