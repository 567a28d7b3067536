"""One session on the wire: events are read while what the model hears is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import orjson
from mlserver.types import InferenceRequest, InferenceResponse
from starlette.websockets import WebSocket

from ...access.authenticator import without_secrets
from ...audio.samples import Pcm
from ...errors import BadRequestError, MLServerError, TooLargeError, WorkerLostError, failure_of
from ...models.messages import put_headers
from ...rest.websocket_protocol import frames_of
from ...sockets.session import HANDSHAKE
from ...streams.calls import WEBSOCKET, Call
from ...streams.turns import in_turns
from ...watch.metrics import Figures
from ..calls import Calls
from ..fields import Fields
from ..payloads import Tensors, sound_payload
from ..pieces import PieceReader
from .events import Event
from .recording import Recording, Recordings
from .session import APPEND, Session
from .sound import decoded
from .turns import Heard

# OpenAI's own bound of an append, 15 MiB of sound, in base64, and what stands around it.
MOST_BYTES = (20 << 20) + 4096
# An id that its client gave an event.
MOST_ID_CHARACTERS = 512
# Failures of a stream that another would have too; after all others the session goes on.
LASTING = (403, 404, 429, 501, 503)

Payloads = Callable[[Pcm], InferenceRequest]


class SessionFailedError(Exception):
    """A session cannot go on.

    Attributes:
        error: why.
        culprit: the client's own id of its event that was.
    """

    def __init__(self, error: MLServerError, culprit: str | None = None):
        super().__init__(str(error))
        self.error, self.culprit = error, culprit


class Connection:
    """A session's two directions."""

    def __init__(self, socket: WebSocket, call: Call, calls: Calls, session: Session):
        """
        Args:
            session: its recordings are empty.
        """
        self._frames = frames_of(socket.scope)
        self._call = call
        self._calls = calls
        self._session = session
        self._recordings = session.recordings
        self._figures: Figures | None = None
        self._checked: str | None = None
        self._most = min(calls.most_bytes, MOST_BYTES)
        self._headers = {
            name: value
            for name, value in without_secrets(socket.headers).items()
            if not name.startswith(HANDSHAKE)
        }

    async def run(self) -> None:
        """Read until the service is about to stop, and have all heard that was said.

        Raises:
            SessionFailedError: it cannot go on.
        """
        self._call.on_drain = self._frames.wake
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear_all())
                await self._read()
                self._recordings.close()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        finally:
            self._call.on_drain = None

    async def send(self, events: list[Event]) -> None:
        """Have them leave in one write, once the client has read enough."""
        if not events:
            return
        while not self._frames.writable.is_set():
            await self._frames.writable.wait()
        messages = [orjson.dumps(event) for event in events]
        self._frames.write(messages)
        self._call.touch()
        if self._figures is not None:
            self._figures.sent.inc(sum(map(len, messages)))

    async def check_model(self) -> None:
        """
        Raises:
            MLServerError: the model that the session names is not there, not for this caller, or
                hears nothing.
        """
        name = self._session.config.model
        if name is None or name == self._checked:
            return
        model = await self._calls.model(name)
        Tensors.of(model).audio_input()
        self._figures = self._calls.figures(model, 0, WEBSOCKET)
        self._checked = name

    async def _read(self) -> None:
        while (message := await self._frames.take()) is not None:
            data, _ = message
            self._call.touch()
            if self._figures is not None:
                self._figures.received.inc(len(data))
            culprit = None
            try:
                event = self._event(data)
                culprit = _culprit(event)
                sound = await self._sound(event)
                found = self._session.take(event, sound)
            except (BadRequestError, TooLargeError) as error:
                found = self._session.writer.error(error, culprit)
            try:
                await self.check_model()
            except MLServerError as error:
                raise SessionFailedError(error, culprit) from error
            await self.send(found)
            await self._recordings.room()

    def _event(self, data: bytes) -> Fields:
        if len(data) > self._most:
            raise TooLargeError(
                f"The event has {len(data)} bytes, and may have {self._most}; append less sound at "
                "once."
            )
        try:
            parsed = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadRequestError(f"The event is not JSON: {error}.") from error
        if not isinstance(parsed, dict):
            raise BadRequestError("An event is a JSON object with a 'type'.")
        return Fields(parsed)

    async def _sound(self, event: Fields) -> bytes:
        if event.all.get("type") != APPEND:
            return b""
        return await in_turns(decoded(event.needed_text("audio")))

    async def _hear_all(self) -> None:
        async with aclosing(self._recordings.each()) as recordings:
            async for recording in recordings:
                try:
                    await self._hear(recording)
                except MLServerError as error:
                    if error.status_code in LASTING and not isinstance(error, WorkerLostError):
                        raise SessionFailedError(error) from error
                    if not recording.is_dropped:
                        await self.send(recording.turn.failed(error))

    async def _hear(self, recording: Recording) -> None:
        """Have the model hear one recording, and tell what it hears."""
        name = recording.config.model or ""
        tensors = Tensors.of(await self._calls.model(name))
        reader = PieceReader(tensors.output)
        requests = Requests(self._recordings, recording, self._payloads(recording, tensors))
        async with aclosing(self._calls.stream(requests, name)) as responses:
            async for response in responses:
                self._call.touch()
                if recording.is_dropped:
                    continue
                if error := failure_of(response):
                    await self.send(self._session.writer.error(error))
                else:
                    await self.send(recording.turn.heard(_heard(recording, reader, response)))
        if not recording.is_dropped:
            await self.send(recording.turn.ended(recording.seconds))

    def _payloads(self, recording: Recording, tensors: Tensors) -> Payloads:
        config = recording.config
        told = config.parameters

        def made(samples: Pcm) -> InferenceRequest:
            parameters = {"sample_rate": config.format.rate, **told}
            told.clear()  # the first request has said it
            payload = sound_payload(samples, tensors, parameters)
            self._call.take(payload)
            put_headers(payload, dict(self._headers))
            return payload

        return made


class Requests:
    """A recording's sound as requests; a model may leave them in the middle."""

    def __init__(self, recordings: Recordings, recording: Recording, made: Payloads):
        self._recordings = recordings
        self._recording = recording
        self._made = made

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> InferenceRequest:
        samples = await self._recordings.read(self._recording)
        if samples is None:
            raise StopAsyncIteration
        return self._made(samples)


def _heard(recording: Recording, reader: PieceReader, response: InferenceResponse) -> Heard:
    said: dict[str, Any] = (response.parameters and response.parameters.model_extra) or {}
    begun, now = recording.begun, recording.begun + 1000 * recording.seconds

    def ms(name: str, otherwise: float) -> int:
        seconds = said.get(name)
        return round(begun + 1000 * seconds if isinstance(seconds, int | float) else otherwise)

    utterance = said.get("utterance")
    return Heard(
        reader.read(response).text,
        said.get("final") is not False,
        utterance if isinstance(utterance, int) else None,
        ms("start", begun),
        ms("end", now),
    )


def _culprit(event: Fields) -> str | None:
    found = event.all.get("event_id")
    return found[:MOST_ID_CHARACTERS] if isinstance(found, str) else None
