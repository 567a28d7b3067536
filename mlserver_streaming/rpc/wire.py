"""A stream's call, as `streams/substreams.py` writes to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlserver import MLModel
from mlserver.types import InferenceResponse

from ..streams import headers
from ..streams.calls import Call
from ..streams.data_plane import StreamingDataPlane
from ..streams.response_bound import ResponseBound
from ..streams.turns import in_turns
from ..tensors.json_codec import is_large
from ..tensors.steps import Steps, gathered
from ..watch.metrics import Figures
from .errors import Together, write
from .metadata import send_headers
from .outbox import Outbox
from .responses import encode_response, response_parts

if TYPE_CHECKING:
    from .metadata import Context


class Wire:
    """A call's context, as its messages are written to it."""

    def __init__(
        self,
        data_plane: StreamingDataPlane,
        context: Context,
        call: Call,
        figures: Callable[[MLModel], Figures],
    ):
        """
        Args:
            figures: the metrics of a model on this wire.
        """
        self._data_plane = data_plane
        self._bound = data_plane.grpc_bound
        self._figures = figures
        self._context = context
        self._call = call
        self._writing = asyncio.Lock()
        self._together = Together.of(context, call.touch)
        self._sent: dict[MLModel, Callable[[float], None]] = {}

    def encode(
        self, response: InferenceResponse, form: bool, model: MLModel | None
    ) -> bytes | None:
        if is_large(response):
            return None
        if response.parameters is not None:
            said = headers.metadata_of(headers.headers_of(response))
            send_headers(said, self._context, self._call)
        message = encode_response(response, form)
        if len(message) > self._bound.bytes:
            self._bound.check(len(message))
        return self._counted(message, model)

    async def encode_large(
        self, response: InferenceResponse, form: bool, model: MLModel | None
    ) -> bytes:
        if response.parameters is not None:
            said = headers.metadata_of(headers.headers_of(response))
            send_headers(said, self._context, self._call)
        message = await in_turns(encoded(response, form, self._bound))
        return self._counted(message, model)

    def failed(self, model: MLModel) -> None:
        self._figures(model).errors.inc(1)

    def _counted(self, message: bytes, model: MLModel | None) -> bytes:
        if model is not None:
            if model not in self._sent:
                self._sent[model] = self._figures(model).sent.inc
            self._sent[model](len(message))
        return message

    def kept(self, form: bool) -> dict[str, Any]:
        return {"raw": form}

    def final(self, request_id: str) -> None:
        """A stream of one request has no end of its own here."""

    def outbox(self, model: MLModel | None) -> Outbox:
        limit = self._data_plane.streaming.limits.buffered_responses
        turnstile = self._data_plane.calls.turnstile
        return Outbox(self._write, self._writing, turnstile, limit, self._together)

    async def _write(self, message: bytes) -> None:
        await write(self._context, message)
        self._call.touch()


def encoded(response: InferenceResponse, raw: bool, bound: ResponseBound) -> Steps[bytes]:
    """A large response's message.

    Raises:
        TooLargeError: it is larger than a message may be.
    """
    parts = yield from response_parts(response, raw)
    bound.check(sum(map(len, parts)))
    return (yield from gathered(parts))
