"""`/realtime`: where sessions are opened and closed."""

from __future__ import annotations

import time

import orjson
from mlserver.logging import logger
from mlserver.utils import generate_uuid
from starlette.websockets import WebSocket

from ...errors import DrainingError, InternalError, MLServerError
from ...rest.server import EXCEPTION_HANDLERS
from ...rest.websocket_protocol import WebSocketProtocol, frames_of, until_gone
from ...sockets.closing import close_of
from ...streams.calls import WEBSOCKET
from ..calls import Calls
from ..errors import FieldError
from .config import ONLY_TRANSCRIPTION, TRANSCRIPTION, Config
from .connection import Connection, SessionFailedError
from .events import OpenAIWriter, Writer
from .recording import Recordings
from .session import Session

PROTOCOL = "realtime"
# A browser cannot send the header; it offers this beside PROTOCOL.
FLAT_HEADER, FLAT, FLAT_PROTOCOL = "openai-beta", "realtime=v1", "openai-beta.realtime-v1"


class RealtimeEndpoint:
    """Opens a call for each session, which lasts as long as its socket."""

    def __init__(self, calls: Calls):
        self._calls = calls

    async def __call__(self, socket: WebSocket) -> None:
        frames = frames_of(socket.scope)
        with until_gone(frames):
            await self._open(socket, frames)

    async def _open(self, socket: WebSocket, frames: WebSocketProtocol) -> None:
        """Serve a session, or answer the request for it with a status."""
        writer: Writer | None = None
        culprit = None
        try:
            async with self._calls.open(socket, WEBSOCKET) as call:
                flat = OpenAIWriter(_is_flat(socket))
                session = Session(flat, _config(socket), Recordings())
                connection = Connection(socket, call, self._calls, session)
                await connection.check_model()
                offered = PROTOCOL in socket.scope["subprotocols"]
                returned = [(n.encode(), v.encode()) for n, v in call.returned.items()]
                await socket.accept(PROTOCOL if offered else None, returned)
                writer = flat
                await connection.send(session.created(time.time()))
                try:
                    await connection.run()
                finally:
                    writer = session.writer
            error: MLServerError = DrainingError()
        except SessionFailedError as failed:
            error, culprit = failed.error, failed.culprit
        except MLServerError as known:
            error = known
        except Exception:
            error = InternalError(generate_uuid())
            logger.exception("%s: %s", socket.scope["path"], error)
        if writer is None:
            answer = await EXCEPTION_HANDLERS[MLServerError](socket, error)
            await socket.send_denial_response(answer)
        else:
            # Whether its client reads or not.
            frames.write([orjson.dumps(event) for event in writer.error(error, culprit)])
            frames.close(*close_of(error))


def _is_flat(socket: WebSocket) -> bool:
    """Whether a client speaks as OpenAI's did before."""
    offered = socket.scope.get("subprotocols", [])
    return FLAT in socket.headers.get(FLAT_HEADER, "") or FLAT_PROTOCOL in offered


def _config(socket: WebSocket) -> Config:
    """What a session is set to by its address.

    Raises:
        FieldError: it is no session for transcription.
    """
    intent = socket.query_params.get("intent", TRANSCRIPTION)
    if intent != TRANSCRIPTION:
        raise FieldError(ONLY_TRANSCRIPTION, "intent")
    return Config(model=socket.query_params.get("model") or None)
