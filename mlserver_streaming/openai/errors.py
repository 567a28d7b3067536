"""Errors in OpenAI's form: before an answer with a status, within a stream as its last event.

https://platform.openai.com/docs/guides/error-codes
    {"error": {"message", "type", "param", "code"}}
"""

from typing import Any

import orjson

from ..errors import BadRequestError, MLServerError, shown

# Which openai-python would repeat by itself, and in vain.
IN_VAIN = (501, 504)
TYPES = {429: "rate_limit_error"}
CODES = {
    401: "invalid_api_key",
    403: "permission_denied",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    501: "unsupported",
    504: "timeout",
}


class FieldError(BadRequestError):
    """A field of the request is wrong; 400.

    Attributes:
        param: which.
    """

    def __init__(self, message: str, param: str):
        super().__init__(message)
        self.param = param


class NoModelError(MLServerError):
    """There is no such model, or none that this caller may know of; 404."""

    code, param = "model_not_found", "model"

    def __init__(self, name: str):
        super().__init__(
            f"There is no model '{shown(name)}' here that you may use; GET the models' list for "
            "those that you may.",
            404,
        )


class NoResponseError(MLServerError):
    """The caller has no such response, or has it no more; 404."""

    def __init__(self, response: str):
        super().__init__(
            f"You have no response '{shown(response)}' here, or it was kept no longer; only those "
            "with 'background' true, or 'resumable', are kept.",
            404,
        )


class BeginningGoneError(MLServerError):
    """What a stream said first is kept no more, and all of its events need that; 410."""

    def __init__(self) -> None:
        super().__init__(
            "What this said first is no longer kept (resume.bytes), so its events cannot be told "
            "again; ask again.",
            410,
        )


class FutureEventError(BadRequestError):
    """A stream has not got that far; 400.

    Attributes:
        last: the number of its last event, from 1 on.
    """

    def __init__(self, asked: int, last: int):
        super().__init__(
            f"Event {asked} of this stream is not there yet: the last is {last}; come back with "
            "the id of the last one that you have."
        )
        self.last = last


def error_object(status: int, message: str, error: Exception | None = None) -> dict[str, Any]:
    """The object that says what went wrong."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "message": message,
        "type": TYPES.get(status, kind),
        "param": getattr(error, "param", None),
        "code": getattr(error, "code", None) or CODES.get(status),
    }


def error_event(error: MLServerError, **beside: Any) -> bytes:
    """The event that ends a stream which failed after it had begun.

    Args:
        beside: what stands beside the object.
    """
    said = {"error": error_object(error.status_code, str(error), error), **beside}
    return b"event: error\ndata: %b\n\n" % orjson.dumps(said)
