"""What a connection's client is told of a request that failed."""

from __future__ import annotations

from typing import Any

from mlserver.logging import logger
from mlserver.types import InferenceResponse, Parameters
from mlserver.utils import generate_uuid

from ..errors import InternalError, MLServerError


def for_caller(error: Exception, request_id: str | None) -> MLServerError:
    """What the caller may know of an error; what it may not know is logged."""
    if isinstance(error, MLServerError):
        return error
    internal = InternalError(request_id or generate_uuid())
    internal.__cause__ = error
    logger.error("Stream: %s", internal, exc_info=error)
    return internal


def failure_answer(model_name: str, request_id: str, error: MLServerError) -> InferenceResponse:
    """The answer to a request that failed."""
    parameters: dict[str, Any] = {"error": str(error), "error_code": error.status_code}
    return InferenceResponse.model_construct(
        model_name=model_name, id=request_id, parameters=Parameters(**parameters), outputs=[]
    )
