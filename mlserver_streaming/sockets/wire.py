"""The messages of one socket on their way out."""

from __future__ import annotations

import orjson
from mlserver import MLModel
from mlserver.types import InferenceResponse

from ..rest.websocket_protocol import Message, WebSocketProtocol
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

    def encode(self, response: InferenceResponse, form: Form, model: MLModel | None) -> Message:
        message = form.at_once(response)
        if len(message) > self._bound.bytes:
            self._bound.check(len(message))
        if model is not None:
            self.figures(model).sent.inc(len(message))
        return message

    async def encode_large(
        self, response: InferenceResponse, form: Form, model: MLModel | None
    ) -> Message:
        parts = await in_turns(form.parts(response))
        self._bound.check(sum(map(len, parts)))
        message = form.message(await in_turns(gathered(parts)))
        if model is not None:
            self.figures(model).sent.inc(len(message))
        return message

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

    def outbox(self) -> SocketOutbox:
        return SocketOutbox(self._frames, self._call)


class SocketOutbox:
    """One model's messages. What is ready leaves in one write, once the peer has read enough."""

    __slots__ = ("_begun", "_bytes", "_call", "_frames", "_messages")

    def __init__(self, frames: WebSocketProtocol, call: Call):
        self._frames = frames
        self._call = call
        self._messages: list[Message] = []
        self._bytes = 0
        self._begun = False

    def put(self, message: Message) -> bool:
        """Have a message written; whether it is time to: the first waits for no other."""
        self._messages.append(message)
        self._bytes += len(message)
        return not self._begun or self._bytes >= READY_BYTES

    async def flush(self) -> None:
        if not self._messages:
            return
        messages, self._messages, self._bytes = self._messages, [], 0
        self._begun = True
        writable = self._frames.writable
        # Others may have written meanwhile, who waited for it too.
        while not writable.is_set():
            await writable.wait()
        self._frames.write(messages)
        self._call.touch()
