"""What an edge brings to the streams of one connection: requests, and a way out for responses."""

from collections.abc import AsyncGenerator, Awaitable
from typing import Any, Protocol

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse


class Routed(Protocol):
    """A request, which model it is for, and the form that its wire is to answer it in."""

    @property
    def model_name(self) -> str: ...
    @property
    def model_version(self) -> str: ...
    @property
    def payload(self) -> InferenceRequest: ...
    @property
    def form(self) -> Any: ...


class Rest(Protocol):
    """What one who comes back to a stream has yet to hear.

    Attributes:
        model_name: whose it is, as far as that is known.
        form: how it is to be answered.
    """

    model_name: str
    form: Any

    async def open(self) -> tuple[Any, AsyncGenerator[InferenceResponse, None]]:
        """The run that is read, and its responses.

        Raises:
            MLServerError: there is nothing to read.
        """

    async def cancel(self) -> None:
        """End the run, which `open` has not given.

        Raises:
            MLServerError: there is none, or it cannot be told.
        """


class Outbox(Protocol):
    """The messages of one of a connection's streams on their way to its wire."""

    def put(self, message: Any) -> bool:
        """Have a message written; whether it is time to."""

    async def flush(self) -> None:
        """Write what is ready. A request's `timeout` does not cut a message in two."""

    def pause(self) -> Awaitable[None] | None:
        """The same, since the stream is about to wait for something else; None where it is done."""


class Wire(Protocol):
    """Where a connection's messages go."""

    def encode(self, response: InferenceResponse, form: Any, model: MLModel | None) -> Any:
        """The message for a response, in the form that was asked for, of a model if there is such
        a one; None where that takes too long. It never does for one without outputs.

        Raises:
            TooLargeError: it is larger than a message may be.
        """

    async def encode_large(
        self, response: InferenceResponse, form: Any, model: MLModel | None
    ) -> Any:
        """The same for a response that may be large: it takes turns."""

    def kept(self, form: Any) -> dict[str, Any]:
        """A form in JSON's terms, for the head of a stream that outlives the connection."""

    def final(self, request_id: str) -> Any:
        """The message that ends a stream of one request; None where the wire has none."""

    def failed(self, model: MLModel) -> None:
        """One of a model's requests has failed on its way out."""

    def outbox(self, model: MLModel | None) -> Outbox:
        """For the messages of one more stream, to a model if there is such a one."""
