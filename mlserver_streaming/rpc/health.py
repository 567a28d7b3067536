"""grpc.health.v1: as ready as the models are. https://grpc.io/docs/guides/health-checking/"""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health, health_pb2

from ..streams.data_plane import StreamingDataPlane

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class ReadinessHealth(health.aio.HealthServicer):
    """The health service for the whole server ("") and for the services named."""

    def __init__(self, data_plane: StreamingDataPlane, *services: str):
        super().__init__()
        self._data_plane = data_plane
        self._services = services

    async def Check(self, request: Any, context: Any) -> Any:
        ready = SERVING if await self._data_plane.ready() else NOT_SERVING
        for service in ("", *self._services):
            # After enter_graceful_shutdown the parent ignores this, and stays NOT_SERVING.
            await self.set(service, ready)
        return await super().Check(request, context)
