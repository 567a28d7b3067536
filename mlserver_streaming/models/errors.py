"""What a runtime can raise, sorted by who is to blame.

    MLServerError                     MLServer's base: a text for the caller, an HTTP status
      RequestError              400   the caller's fault: the request cannot be understood
        ParameterError            400   a request parameter is out of its range
        ContentError              422   a well-formed tensor whose content cannot be read
      BusyError                   429   nobody's fault: try again later

Anything else that a runtime raises is our fault: the data plane logs it in full and answers with
a fixed phrase.
"""

from mlserver.errors import MLServerError

__all__ = ["BusyError", "ContentError", "MLServerError", "ParameterError", "RequestError", "shown"]

# Enough of a bad value to recognise it; a megabyte of it in an error helps nobody.
SHOWN_CHARACTERS = 60


class RequestError(MLServerError):
    """The request cannot be understood: names, datatypes, shapes, forms.

    Attributes:
        param: the parameter or input that is wrong, where it is known.
        reason: a word for it that programs know (OpenAI's `code`), where there is one.
    """

    def __init__(
        self,
        message: str,
        status_code: int = 400,
        *,
        param: str | None = None,
        reason: str | None = None,
    ):
        super().__init__(message, status_code)
        self.param, self.reason = param, reason


class ParameterError(RequestError):
    """A request parameter is not what the model takes."""


class ContentError(RequestError):
    """The tensor is well-formed, what is in it cannot be read (not UTF-8, not a JPEG)."""

    def __init__(self, message: str):
        super().__init__(message, 422)


class BusyError(MLServerError):
    """A bound is reached; the same request may succeed later."""

    def __init__(self, message: str):
        super().__init__(message, 429)


def shown(value: object) -> str:
    """`value` as an error may quote it: its repr, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
