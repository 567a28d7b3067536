"""What the service itself answers when it cannot serve, and how a runtime fails one request.

MLServerError                a text for the caller and an HTTP status
  BadRequestError       400  the request cannot be read
  NoSuchOutputError     400  it names an output that the answer does not have
  UnauthenticatedError  401  no key or token, or none that is known here
  ForbiddenError        403  a known caller who may not do this
  NoSuchModelError      404  nothing is served under this name or version
  NoSuchRegionError     404  the caller has no such region of shared memory
  NoSuchStreamError     404  the caller has no such stream, or has it no more
  StillAheadError       400  a stream has not got that far
  RegionExistsError     409  the caller has one of this name
  ForgottenError        410  a stream's responses from there on are kept no more
  TooLargeError         413  a body or message past its limit
  UnsupportedError      501  the model cannot be asked in this way
  NotReadyError         503  the model is still loading
  NotLoadedError        503  the model could not be loaded
  WorkerLostError       503  the worker process that was answering is gone
  NoWorkerError         503  no worker process is there to answer
  IssuerError           503  the issuer of tokens does not give its keys
  OverLimitError        429  as many streams as may be
  RequestCancelledError 499  its caller wants no more of it
  DrainingError         503  the service is about to stop
  MovedError            503  a stream goes on at another instance
  StoreLostError        503  the store of streams does not answer
  LostStreamError       410  who answered a stream is lost, and nobody can go on with it
  IdleError             408  nothing came or went for too long
  UnreadError           408  nobody read a stream for too long
  CancelledStreamError  499  its caller cancelled a stream
  DeadlineError         504  a call lasted longer than it may
  LoadTimeoutError      504  a model took longer to load than it may
  InternalError         500  everything unexpected: logged in full, answered in a fixed phrase
  RequestFailedError    any  a runtime failed this request in band (the stream contract)
"""

from collections.abc import Iterable

from mlserver.errors import MLServerError
from mlserver.types import InferenceResponse

__all__ = [
    "BadRequestError",
    "CancelledStreamError",
    "DeadlineError",
    "DrainingError",
    "ForbiddenError",
    "ForgottenError",
    "IdleError",
    "InternalError",
    "IssuerError",
    "LoadTimeoutError",
    "LostStreamError",
    "MLServerError",
    "MovedError",
    "NoSuchModelError",
    "NoSuchOutputError",
    "NoSuchRegionError",
    "NoSuchStreamError",
    "NoWorkerError",
    "NotLoadedError",
    "NotReadyError",
    "OverLimitError",
    "RegionExistsError",
    "RequestCancelledError",
    "RequestFailedError",
    "StillAheadError",
    "StoreLostError",
    "TooLargeError",
    "UnauthenticatedError",
    "UnreadError",
    "UnsupportedError",
    "WorkerLostError",
    "failure_of",
    "shortened",
    "shown",
]


# What a caller sent may be as long as a message; more than this of it helps nobody.
MAX_SHOWN_CHARACTERS = 200


def shortened(text: str) -> str:
    """A caller's text, cut where it is long."""
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "..."


def shown(text: str) -> str:
    """A caller's text as an error or a line of the log quotes it: short, on one line."""
    text = shortened(text)
    return text if text.isprintable() else ascii(text)[1:-1]


class BadRequestError(MLServerError):
    """The request cannot be read; 400, or the status given."""

    def __init__(self, message: str, status_code: int = 400):
        super().__init__(message, status_code)


class UnauthenticatedError(MLServerError):
    def __init__(self, message: str):
        super().__init__(message, 401)


class ForbiddenError(MLServerError):
    def __init__(self, message: str):
        super().__init__(message, 403)


class IssuerError(MLServerError):
    def __init__(self) -> None:
        super().__init__(
            "The keys of the tokens' issuer cannot be had now; try again in a moment.", 503
        )


class NoSuchModelError(MLServerError):
    def __init__(self, name: str, version: str | None):
        what = f"model '{shown(name)}'"
        if version:
            what = f"version '{shown(version)}' of {what}"
        super().__init__(
            f"There is no {what} here; POST /v2/repository/index lists what is served.", 404
        )


class NoSuchOutputError(BadRequestError):
    def __init__(self, model: str, missing: Iterable[str], there: Iterable[str]):
        gave = shortened(", ".join(map(repr, there))) or "none"
        wanted = shortened(", ".join(f"'{shown(name)}'" for name in missing))
        super().__init__(f"Model '{model}' gave no output {wanted}; it gave {gave}.")


class NoSuchRegionError(MLServerError):
    def __init__(self, name: str):
        super().__init__(f"You have no region '{shown(name)}'; register it first.", 404)


class NoSuchStreamError(MLServerError):
    def __init__(self, stream: str):
        super().__init__(
            f"You have no stream '{shown(stream)}' here, or it was kept no longer; ask again.", 404
        )


class StillAheadError(MLServerError):
    def __init__(self, asked: int, last: int):
        super().__init__(
            f"Response {asked} of this stream is not there yet: the last is {last}; come back with "
            "the id of the last one that you have.",
            400,
        )


class ForgottenError(MLServerError):
    """Responses are gone that a reader has not had.

    Attributes:
        first: the number of the first that is still kept.
    """

    def __init__(self, after: int, first: int, stream: str):
        super().__init__(
            f"What this stream said after response {after} is no longer kept; it can be read from "
            f"response {first} on, after '{stream}.{first - 1}'.",
            410,
        )
        self.first = first


class RegionExistsError(MLServerError):
    def __init__(self, name: str):
        super().__init__(
            f"You have a region '{shown(name)}' already; unregister it, or take another name.", 409
        )


class TooLargeError(MLServerError):
    def __init__(self, message: str):
        super().__init__(message, 413)


class UnsupportedError(MLServerError):
    def __init__(self, message: str):
        super().__init__(message, 501)


class NotReadyError(MLServerError):
    def __init__(self, name: str):
        super().__init__(f"Model '{name}' is not ready yet; try again in a moment.", 503)


class NotLoadedError(MLServerError):
    def __init__(self, name: str):
        super().__init__(
            f"Model '{name}' could not be loaded; POST /v2/repository/index has the reason.", 503
        )


class WorkerLostError(MLServerError):
    def __init__(self) -> None:
        super().__init__("The worker that answered this was lost; ask again.", 503)


class NoWorkerError(MLServerError):
    def __init__(self) -> None:
        super().__init__("No worker is ready now; try again in a moment.", 503)


class OverLimitError(MLServerError):
    def __init__(self, message: str):
        super().__init__(message, 429)


class RequestCancelledError(MLServerError):
    def __init__(self) -> None:
        super().__init__("The request was cancelled by its caller.", 499)


class DrainingError(MLServerError):
    def __init__(self) -> None:
        super().__init__("The service is stopping; ask another instance, or try again later.", 503)


class MovedError(MLServerError):
    def __init__(self) -> None:
        super().__init__(
            "This stream goes on elsewhere; come back with the id of the last response that you "
            "have.",
            503,
        )


class CatchingUpError(MLServerError):
    def __init__(self, last: int) -> None:
        super().__init__(
            f"This stream is gone on with here, and is at response {last} so far; come back with "
            "the id of the last response that you have.",
            503,
        )


class StoreLostError(MLServerError):
    def __init__(self) -> None:
        super().__init__(
            "The store that knows of streams at other instances does not answer; come back in a "
            "moment.",
            503,
        )


class LostStreamError(MLServerError):
    def __init__(self, last: int):
        super().__init__(
            f"The replica that answered this was lost after response {last}; ask again.", 410
        )


class UnreadRequestsError(MLServerError):
    """Some of what a client had asked, as its connection was lost."""

    def __init__(self) -> None:
        super().__init__(
            "The connection was lost before the model had read all requests; ask again for what is "
            "not answered.",
            410,
        )


class IdleError(MLServerError):
    def __init__(self, seconds: float):
        super().__init__(f"Nothing came or went for {seconds:g} s, so the stream was ended.", 408)


class UnreadError(MLServerError):
    def __init__(self, seconds: float):
        super().__init__(f"Nobody read this stream for {seconds:g} s, so it was ended.", 408)


class CancelledStreamError(MLServerError):
    def __init__(self) -> None:
        super().__init__("This stream was cancelled by its caller.", 499)


class DeadlineError(MLServerError):
    def __init__(self, seconds: float):
        super().__init__(f"The call was ended after {seconds:g} s, the longest it may last.", 504)


class LoadTimeoutError(MLServerError):
    def __init__(self, name: str, seconds: float):
        super().__init__(
            f"Model '{name}' was not loaded within {seconds:g} s (workers.load_seconds).", 504
        )


class InternalError(MLServerError):
    def __init__(self, request_id: str):
        super().__init__(
            f"The service failed on request '{shown(request_id)}'; its log says why under that id.",
            500,
        )


class RequestFailedError(MLServerError):
    """What a runtime said with the response parameters `error` and `error_code`.

    Attributes:
        param, code: `error_param` and `error_reason`, where they are there too.
    """

    def __init__(
        self, message: str, status_code: int, param: str | None = None, code: str | None = None
    ):
        super().__init__(message, status_code)
        self.param, self.code = param, code


def failure_of(response: InferenceResponse) -> RequestFailedError | None:
    """The error behind a response that fails its request; None for an ordinary response."""
    if response.outputs or response.parameters is None:
        return None
    parameters = response.parameters.model_extra or {}
    if "error" not in parameters:
        return None
    code = parameters.get("error_code")
    status = code if isinstance(code, int) and 400 <= code <= 599 else 500
    param, reason = (
        known if isinstance(known := parameters.get(name), str) else None
        for name in ("error_param", "error_reason")
    )
    return RequestFailedError(str(parameters["error"]), status, param, reason)
