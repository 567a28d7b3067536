"""Where sockets are opened and closed."""

from __future__ import annotations

from mlserver.logging import logger
from mlserver.utils import generate_uuid
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..errors import InternalError, MLServerError
from ..rest.server import EXCEPTION_HANDLERS
from ..rest.websocket_protocol import WebSocketProtocol, frames_of, until_gone
from ..streams.calls import WEBSOCKET
from ..streams.data_plane import StreamingDataPlane
from .closing import COME_BACK, DONE, close_of
from .session import Session

SUBPROTOCOL = "v2.stream"


async def _no_upgrade(request: Request) -> Response:
    """https://www.rfc-editor.org/rfc/rfc9110#section-15.5.22"""
    message = f"{request.url.path} is a WebSocket: open it as one (docs/websocket.md)."
    return JSONResponse({"error": message}, 426, {"Upgrade": "websocket"})


class SocketEndpoint:
    """`/v2/models/{model}[/versions/{version}]/stream`."""

    def __init__(self, data_plane: StreamingDataPlane):
        self._data_plane = data_plane

    def routes(self) -> list[BaseRoute]:
        return [
            route
            for base in (
                "/v2/models/{model_name}",
                "/v2/models/{model_name}/versions/{model_version}",
            )
            for route in (
                WebSocketRoute(f"{base}/stream", self._serve),
                Route(f"{base}/stream", _no_upgrade, include_in_schema=False),
            )
        ]

    async def _serve(self, socket: WebSocket) -> None:
        frames = frames_of(socket.scope)
        with until_gone(frames):
            await self._open(socket, frames)

    async def _open(self, socket: WebSocket, frames: WebSocketProtocol) -> None:
        """Answer a socket's requests, or the request for it with a status."""
        model = (socket.path_params["model_name"], socket.path_params.get("model_version") or "")
        calls, is_open = self._data_plane.calls, False
        try:
            async with calls.open(WEBSOCKET, socket.headers) as call:
                await self._data_plane.model(*model)
                offered = SUBPROTOCOL in socket.scope["subprotocols"]
                returned = [(n.encode(), v.encode()) for n, v in call.returned.items()]
                await socket.accept(SUBPROTOCOL if offered else None, returned)
                is_open = True
                await Session(self._data_plane, frames, call, socket, model).run()
            frames.close(*(COME_BACK if calls.draining else DONE))
        except MLServerError as error:
            if is_open:
                frames.close(*close_of(error))
            else:
                answer = await EXCEPTION_HANDLERS[MLServerError](socket, error)
                await socket.send_denial_response(answer)
        except WebSocketDisconnect:  # before it was open
            return
        except Exception:
            internal = InternalError(generate_uuid())
            logger.exception("WebSocket: %s", internal)
            if is_open:
                frames.close(*close_of(internal))
            else:
                answer = await EXCEPTION_HANDLERS[MLServerError](socket, internal)
                await socket.send_denial_response(answer)
