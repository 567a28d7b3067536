"""The messages of one socket on their way out."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import orjson
from mlserver import MLModel
from mlserver.types import InferenceResponse

from ..rest.websocket_messages import Message
from ..rest.websocket_protocol import WebSocketProtocol
from ..streams.calls import WEBSOCKET, Call
from ..streams.data_plane import StreamingDataPlane
from ..streams.turns import in_turns
from ..tensors.steps import gathered
from ..watch.metrics import Figures
from .forms import Form

# Messages that are ready together leave together, up to so many bytes.
READY_BYTES = 64 * 1024


class SocketWire:
    """What `streams.substreams` writes to."""

    def __init__(self, data_plane: StreamingDataPlane, frames: WebSocketProtocol, call: Call):
        self._data_plane = data_plane
        self._bound = data_plane.rest_bound
        self._frames = frames
        self._call = call
        self._figures: dict[MLModel, Figures] = {}

    def encode(
        self, response: InferenceResponse, form: Form, model: MLModel | None
    ) -> Message | None:
        message = form.at_once(response)
        if message is not None and len(message) > self._bound.bytes:
            self._bound.check(len(message))
        return message

    async def encode_large(
        self, response: InferenceResponse, form: Form, model: MLModel | None
    ) -> Message:
        parts = await in_turns(form.parts(response))
        self._bound.check(sum(map(len, parts)))
        return form.message(await in_turns(gathered(parts)))

    def kept(self, form: Form) -> dict[str, Any]:
        return form.kept()

    def final(self, request_id: str) -> Message:
        return orjson.dumps({"id": request_id, "final": True})

    def failed(self, model: MLModel) -> None:
        self.figures(model).errors.inc(1)

    def figures(self, model: MLModel) -> Figures:
        found = self._figures.get(model)
        if found is None:
            found = self._data_plane.metrics.of(model.name, model.version, WEBSOCKET)
            self._figures[model] = found
        return found

    def outbox(self, model: MLModel | None) -> SocketOutbox:
        sent = self.figures(model).sent.inc if model is not None else None
        return SocketOutbox(self._data_plane, self._frames, self._call, sent)


class SocketOutbox:
    """One model's messages. What is ready leaves in one write, once the peer has read enough: when
    the model waits for something, and when it goes on for as long as a stream may."""

    __slots__ = (
        "_bytes",
        "_call",
        "_data_plane",
        "_frames",
        "_messages",
        "_sent",
        "_turn_due",
        "_waited",
    )

    def __init__(
        self,
        data_plane: StreamingDataPlane,
        frames: WebSocketProtocol,
        call: Call,
        sent: Callable[[float], None] | None,
    ):
        """
        Args:
            sent: told of the bytes that leave.
        """
        self._data_plane = data_plane
        self._frames = frames
        self._call = call
        self._sent = sent
        self._messages: list[Message] = []
        self._bytes = 0
        # The first leaves at once.
        self._waited = False
        self._turn_due = 0.0

    def put(self, message: Message) -> bool:
        """Have a message written; whether it is time to."""
        self._messages.append(message)
        self._bytes += len(message)
        now = monotonic()
        if self._waited:
            # The loop has just gone round.
            self._waited = False
            self._turn_due = now + self._data_plane.rotation.seconds
        return self._bytes >= READY_BYTES or now >= self._turn_due

    async def flush(self) -> None:
        await self._write()
        if not self._waited and monotonic() >= self._turn_due:
            # A model that never awaits must not starve the others, nor outlive its client.
            self._waited = True
            await self._data_plane.rotation.turn()

    async def pause(self) -> None:
        self._waited = True
        await self._write()

    async def _write(self) -> None:
        if not self._messages:
            return
        messages, size, self._messages, self._bytes = self._messages, self._bytes, [], 0
        writable = self._frames.writable
        # Others may have written meanwhile, who waited for it too.
        while not writable.is_set():
            await writable.wait()
        self._frames.write(messages)
        self._call.touch()
        if self._sent is not None:
            self._sent(size)
