"""One socket, from its first message to its last."""

from __future__ import annotations

import asyncio
import functools
from time import perf_counter_ns
from typing import Any, NamedTuple

from mlserver.types import InferenceRequest
from mlserver.utils import generate_uuid
from starlette.requests import HTTPConnection

from ..access.authenticator import without_secrets
from ..errors import BadRequestError, MLServerError
from ..models.messages import put_headers
from ..regions.regions import Own
from ..rest.generate import is_flat
from ..rest.read_request import understand
from ..rest.shared_memory import regions_of
from ..rest.websocket_protocol import WebSocketProtocol
from ..streams.calls import Call
from ..streams.data_plane import StreamingDataPlane
from ..streams.own_stream import OwnStream
from ..streams.substreams import Substreams
from ..streams.turns import in_turns
from .coming_back import Rest
from .forms import FLAT, TEXT, Flat, Form, Raw
from .messages import MODEL_NAME, MODEL_VERSION, OWN_STREAM, RESUME, Asked, read_message
from .wire import SocketWire

# Of the handshake: no model's.
HANDSHAKE = "sec-websocket-"


class SocketRequest(NamedTuple):
    """A request, as `streams.substreams` takes it."""

    model_name: str
    model_version: str
    payload: InferenceRequest
    form: Form


class Session:
    """The requests of one socket, and the answers to them."""

    def __init__(
        self,
        data_plane: StreamingDataPlane,
        frames: WebSocketProtocol,
        call: Call,
        connection: HTTPConnection,
        model: tuple[str, str],
    ):
        """
        Args:
            model: the name and version of the one that is asked where a request names none.
        """
        self._data_plane = data_plane
        self._frames = frames
        self._call = call
        self._model = model
        self._wire = SocketWire(data_plane, frames, call)
        self._own: Own = functools.partial(regions_of, data_plane.regions, connection)
        self._headers = {
            name: value
            for name, value in without_secrets(connection.headers).items()
            if not name.startswith(HANDSHAKE)
        }
        self._has_ended = False

    async def run(self) -> None:
        """Answer all requests, until no more come."""
        listening: asyncio.Task[None] | None = None
        self._call.on_drain = self._frames.wake
        try:
            async with Substreams(self._data_plane, self._wire, lasting=True) as models:
                await self._listen(models)
                self._has_ended = True
                # To requests that are cancelled.
                listening = asyncio.create_task(self._listen(models))
        finally:
            self._call.on_drain = None
            if listening is not None:
                listening.cancel()

    async def _listen(self, models: Substreams) -> None:
        """Take messages, until no more requests come."""
        while (message := await self._frames.take()) is not None:
            self._call.touch()
            if await self._heed(*message, models):
                return
            del message  # which may be large, and the next one may be long in coming

    async def _heed(self, data: bytes, is_text: bool, models: Substreams) -> bool:
        """Do what a message says; whether it is that no more requests come."""
        begun = perf_counter_ns()
        limits = self._data_plane.streaming.limits
        form: Form = TEXT
        name, version, own, asked = *self._model, False, None
        try:
            asked = await in_turns(read_message(data, is_text, limits))
            if asked.is_end:
                return True
            if (cancelled := asked.cancelled) is not None:
                await models.cancel(cancelled)
                return False
            form = FLAT if is_flat(asked.parsed) else TEXT
            if self._has_ended:
                raise BadRequestError("No request can come after 'end'; open another socket.")
            own = RESUME in asked.parsed
            if (place := asked.resumed) is not None:
                rest = Rest(self._data_plane, place, name, form)
                await models.read_beside(OwnStream(asked.id or rest.stream), rest)
                return False
            own = bool(asked.take(OWN_STREAM, bool, "true or false"))
            name, version = self._model_of(asked)
            model = await self._data_plane.model(name, version)
            understanding = understand(*asked, limits, model.inputs or [], self._own)
            payload, outputs, flat = await in_turns(understanding)
            put_headers(payload, dict(self._headers))
            self._call.check(payload)
        except MLServerError as error:
            models.count()
            await models.fail(name, asked.id if asked else "", error, form, own)
            return False
        if payload.id is None:
            payload.id = generate_uuid()
        if flat is not None:
            form = Flat(flat.with_ids())
        elif not is_text and outputs.any:
            form = Raw(outputs)
        read_ns = perf_counter_ns() - begun
        request = SocketRequest(name, version, payload, form)
        if (met := await models.put(request, own)) is not None:
            self._wire.figures(met).received.inc(len(data))
            self._data_plane.served(met).input_ns += read_ns
        return False

    def _model_of(self, asked: Asked) -> tuple[str, str]:
        """The model that a request names, or the socket's."""
        named: Any = asked.take(MODEL_NAME, str, "the name of a model")
        version: Any = asked.take(MODEL_VERSION, str, "the version of a model, as text")
        if named is None or named == self._model[0]:
            return self._model[0], version or self._model[1]
        return named, version or ""
