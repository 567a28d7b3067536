"""What can go wrong for a client, sorted by who is to blame.

ClientError
├── SourceError            the caller: what was to be sent cannot be read
├── ResultError            the caller: where the result should go cannot be written
├── UnreachableError       nobody answers at that host and port
├── TlsError               somebody answers, but the two do not agree on TLS
├── NoResponseError        the server is there and stays silent for longer than the timeout
├── RefusedError           the server: it ended the call with an error status
├── ErrorEventError        the server: it told of an error in the middle of a stream
├── StreamCutError         the network: the stream broke off before its end
│   └── LostReasonError    ... or the server ended it, and gRPC lost why
├── ProtocolError          the server: its answer is not what the protocol allows
└── ItemError              one item failed, the stream goes on
    ├── FrameError         ... and the item is a frame
    └── LostFrameError     ... and it was on the way when its stream broke off

Each prints as one line that makes sense without its type.
"""

from __future__ import annotations

# A server that starts, drains or went away (a proxy answers 502 and 503 for it), and one that has
# no room: the latter is asked again only if it says when.
PASSING = (502, 503, "UNAVAILABLE")
FULL = (429, "RESOURCE_EXHAUSTED")


class ClientError(Exception):
    """Anything that a client of ours raises on purpose. `str()` of it is one line.

    Attributes:
        passing: whether the same call may well succeed in a moment, at another replica say.
        retry_after: for how many seconds the server asks to be left alone, where it says so.
    """

    passing = False
    retry_after: float | None = None

    def __init__(self, message: str) -> None:
        # Texts of servers and libraries come with line breaks.
        super().__init__(" ".join(message.split()))


class SourceError(ClientError):
    """The prompt, file, camera or URL to send cannot be read."""


class ResultError(ClientError):
    """The result cannot be written where it was asked for."""


class UnreachableError(ClientError):
    """Nobody answers at the host and port: refused, no route, unknown name."""

    passing = True


class TlsError(ClientError):
    """No TLS connection: a certificate is not trusted or missing, or one side speaks no TLS."""


class NoResponseError(ClientError):
    """The next response did not come within the timeout."""

    def __init__(self, address: str, seconds: float) -> None:
        super().__init__(f"no response from {address} within {seconds:g} s")


class RefusedError(ClientError):
    """The server ended the call with an error status, or did not start the sequence.

    `status` is an HTTP number or a gRPC name.
    """

    def __init__(self, message: str, status: int | str, retry_after: float | None = None) -> None:
        super().__init__(f"the server answered {status}: {message}")
        self.status, self.retry_after = status, retry_after
        self.passing = status in PASSING or (status in FULL and retry_after is not None)


class ErrorEventError(ClientError):
    """The server sent an error event after the stream had begun."""


class StreamCutError(ClientError):
    """The stream broke off before its end."""

    passing = True


class LostReasonError(StreamCutError):
    """The server ended the call while a request was being sent; gRPC loses its reason then."""


class ProtocolError(ClientError):
    """The server's answer is not what the protocol allows."""


class ItemError(ClientError):
    """One item of a stream failed; `code` is an HTTP status number, None if the client found it."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message if code is None else f"{message} (error {code})")
        self.code = code


class FrameError(ItemError):
    """One frame failed; the frames after it are not affected."""


class LostFrameError(ItemError):
    """The frame was on the way when its stream broke off; another stream goes on after it."""
