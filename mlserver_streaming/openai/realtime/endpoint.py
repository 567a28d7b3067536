"""`/realtime`: where sessions are opened and closed."""

from __future__ import annotations

import asyncio
import time

from mlserver.logging import logger
from mlserver.utils import generate_uuid
from starlette.websockets import WebSocket, WebSocketDisconnect

from ...errors import DrainingError, InternalError, MLServerError
from ...rest.server import EXCEPTION_HANDLERS
from ...streams.calls import REQUEST_ID, WEBSOCKET, fit_id
from ..calls import Calls
from ..errors import FieldError
from .config import ONLY_TRANSCRIPTION, TRANSCRIPTION, Config
from .connection import Connection, SessionFailedError
from .events import OpenAIWriter
from .recording import Recordings
from .session import Session

PROTOCOL = "realtime"
# A browser cannot send the header; it offers this beside PROTOCOL.
FLAT_HEADER, FLAT, FLAT_PROTOCOL = "openai-beta", "realtime=v1", "openai-beta.realtime-v1"
# For the last words to leave, where the client does not read.
LAST_SECONDS = 5
# https://www.rfc-editor.org/rfc/rfc6455#section-7.4; from 4000 on they are anybody's, and 4000 plus
# a status of HTTP.
POLICY, INTERNAL, RESTARTS, TRY_LATER = 1008, 1011, 1012, 1013
CODES = {408: 4408, 429: 4429, 503: TRY_LATER, 504: 4408}
MOST_REASON_BYTES = 123


class RealtimeEndpoint:
    """Opens a call for each session, which lasts as long as its socket."""

    def __init__(self, calls: Calls):
        self._calls = calls

    async def __call__(self, socket: WebSocket) -> None:
        session: Session | None = None
        culprit = None
        try:
            async with self._calls.open(socket, WEBSOCKET) as call:
                flat = _is_flat(socket)
                config = _config(socket)
                opened = Session(OpenAIWriter(flat), config, Recordings())
                connection = Connection(socket, call, self._calls, opened)
                await connection.check_model()
                offered = socket.scope.get("subprotocols", [])
                await socket.accept(
                    PROTOCOL if PROTOCOL in offered else None,
                    [(name.encode(), text.encode()) for name, text in call.returned.items()],
                )
                session = opened
                await connection.send(session.created(time.time()))
                await connection.run()
                return
        except WebSocketDisconnect:
            return
        except SessionFailedError as failed:
            error, culprit = failed.error, failed.culprit
        except MLServerError as known:
            error = known
        except Exception:
            error = InternalError(fit_id(socket.headers.get(REQUEST_ID)) or generate_uuid())
            logger.exception("%s: %s", socket.scope["path"], error)
        if session is None:
            handler = EXCEPTION_HANDLERS[MLServerError]
            await socket.send_denial_response(await handler(socket, error))
        else:
            await _close(socket, session, error, culprit)


async def _close(
    socket: WebSocket, session: Session, error: MLServerError, culprit: str | None
) -> None:
    """Say why, and close."""
    try:
        async with asyncio.timeout(LAST_SECONDS):
            for event in session.writer.error(error, culprit):
                await socket.send_json(event)
            await socket.close(_code(error), _reason(str(error)))
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        return  # it has left


def _code(error: MLServerError) -> int:
    if isinstance(error, DrainingError):
        return RESTARTS
    status = error.status_code
    return CODES.get(status, INTERNAL if status >= 500 and status != 501 else POLICY)


def _reason(text: str) -> str:
    return text.encode()[:MOST_REASON_BYTES].decode(errors="ignore")


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
