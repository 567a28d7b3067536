"""Where sockets are opened."""

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from ..streams.data_plane import StreamingDataPlane


class SocketEndpoint:
    """`/v2/models/{model}[/versions/{version}]/stream`."""

    def __init__(self, data_plane: StreamingDataPlane):
        self._data_plane = data_plane

    def routes(self) -> list[BaseRoute]:
        return [
            WebSocketRoute(f"{base}/stream", self._serve)
            for base in (
                "/v2/models/{model_name}",
                "/v2/models/{model_name}/versions/{model_version}",
            )
        ]

    async def _serve(self, socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(1011, "Not built yet.")
