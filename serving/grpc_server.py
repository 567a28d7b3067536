"""MLServer's gRPC server with our servicer, message limits, keep-alive, health and reflection."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from mlserver.grpc import GRPCServer
from mlserver.grpc.interceptors import LoggingInterceptor
from mlserver.grpc.model_repository import ModelRepositoryServicer
from mlserver.grpc.model_repository_pb2_grpc import add_ModelRepositoryServiceServicer_to_server
from mlserver.tracing import get_tracer_provider
from opentelemetry.instrumentation.grpc import filters

from .inference_servicer import SERVICE, StreamingServicer
from .interceptors import StreamMetrics, StreamTracing

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# Idle streams live long: ping them, and let clients ping, so that a peer that has gone is noticed
# and no proxy between thinks the connection dead.
# https://github.com/grpc/grpc/blob/master/doc/keepalive.md
OPTIONS = {
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.min_ping_interval_without_data_ms": 5_000,
    "grpc.http2.max_ping_strikes": 0,
    # Two servers on one port would share its connections at random; say that it is taken.
    "grpc.so_reuseport": 0,
}


class StreamingGRPCServer(GRPCServer):  # type: ignore[misc]
    """The gRPC edge. The servicer does the work; this puts the server together."""

    def _create_server(self) -> grpc.aio.Server:
        servicer = StreamingServicer(self._data_plane, self._model_repository_handlers)
        self._server = grpc.aio.server(
            interceptors=self._server_interceptors(), options=self._get_options()
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, servicer.handlers()),)
        )
        add_ModelRepositoryServiceServicer_to_server(
            ModelRepositoryServicer(self._model_repository_handlers), self._server
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        self._server.add_insecure_port(f"{self._settings.host}:{self._settings.grpc_port}")
        return self._server

    def _server_interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        interceptors: list[grpc.aio.ServerInterceptor] = []
        if self._settings.debug:
            interceptors.append(LoggingInterceptor())
        if self._settings.metrics_endpoint:
            interceptors.append(StreamMetrics(enable_handling_time_histogram=True))
        if self._settings.tracing_server:
            health_calls = filters.any_of(
                filters.full_method_name(f"/{SERVICE}/ServerLive"),
                filters.full_method_name(f"/{SERVICE}/ServerReady"),
            )
            interceptors.append(
                StreamTracing(
                    get_tracer_provider(self._settings).get_tracer(__name__),
                    filter_=filters.negate(health_calls),
                )
            )
        return interceptors

    def _get_options(self) -> list[tuple[str, Any]]:
        return list({**OPTIONS, **dict(super()._get_options())}.items())

    async def start(self) -> None:
        await super().start()

    async def stop(self, sig: int | None = None) -> None:
        await self._health.enter_graceful_shutdown()
        await super().stop(sig)


__all__ = ["StreamingGRPCServer", "health_pb2"]
