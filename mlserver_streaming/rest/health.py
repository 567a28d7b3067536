"""Readiness as probes read it: 200, or 503 where MLServer says 400."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..streams.data_plane import StreamingDataPlane

READY = "ready"


class HealthEndpoints:
    """`/v2/health/ready` and each model's `ready`; liveness stays MLServer's."""

    def __init__(self, data_plane: StreamingDataPlane):
        self._data_plane = data_plane

    def routes(self) -> list[Route]:
        model = "/v2/models/{model_name}"
        return [
            Route(f"/v2/health/{READY}", self.ready, include_in_schema=False),
            Route(f"{model}/{READY}", self.model_ready, include_in_schema=False),
            Route(
                f"{model}/versions/{{model_version}}/{READY}",
                self.model_ready,
                include_in_schema=False,
            ),
        ]

    async def ready(self, request: Request) -> Response:
        return _answer(await self._data_plane.ready())

    async def model_ready(self, request: Request) -> Response:
        name = request.path_params["model_name"]
        version = request.path_params.get("model_version")
        return _answer(await self._data_plane.model_ready(name, version))


def _answer(ready: bool) -> Response:
    return Response(status_code=200 if ready else 503)
