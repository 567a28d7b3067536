"""grpc.health.v1: as ready as the models are. https://grpc.io/docs/guides/health-checking/

Not the package's own servicer: there every call waits for a lock that a watcher holds while it is
written to, so that one who does not read would silence the probes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ..streams.data_plane import StreamingDataPlane
from .errors import write

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
# How soon a watcher hears of a change.
LOOK_SECONDS = 0.25


class ReadinessHealth(health_pb2_grpc.HealthServicer):
    """The health service for the whole server ("") and for the services named."""

    def __init__(self, data_plane: StreamingDataPlane, *services: str):
        self._data_plane = data_plane
        self._services = ("", *services)

    async def Check(self, request: Any, context: Any) -> Any:
        status = await self._status(request.service)
        if status == UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service here.")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, context: Any) -> None:
        told = None
        while True:
            status = await self._status(request.service)
            if status != told:
                await write(context, health_pb2.HealthCheckResponse(status=status))
                told = status
            await asyncio.sleep(LOOK_SECONDS)

    async def _status(self, service: str) -> Any:
        if service not in self._services:
            return UNKNOWN
        return SERVING if await self._data_plane.ready() else NOT_SERVING
