"""MLServer's gRPC server with our servicer, message limits, keep-alive, health and reflection."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from mlserver.grpc import GRPCServer
from mlserver.grpc.interceptors import LoggingInterceptor
from mlserver.grpc.logging import logger
from mlserver.grpc.model_repository_pb2_grpc import add_ModelRepositoryServiceServicer_to_server
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.settings import Settings
from mlserver.tracing import get_tracer_provider
from opentelemetry.instrumentation.grpc import filters

from ..access.tls import Certificates, open_certificates
from ..ports import cannot_listen
from ..streams.data_plane import StreamingDataPlane
from .admission import Admission
from .auth import OPEN_METHODS, AuthInterceptor
from .health import ReadinessHealth
from .interceptors import StreamMetrics, StreamTracing
from .repository_servicer import RepositoryServicer
from .servicer import SERVICE, StreamingServicer
from .triton.servicer import TritonServicer

# What calls that are no inference get when the server stops, and those that are refused meanwhile
# (refusals.py).
GRACE_SECONDS = 2
# A call whose client does not read its answer is ended by the idle limit, but gRPC keeps it until
# the client takes the status or goes. So each connection, and the server, have room for calls that
# count no more and for those that are refused; and an end to it.
SPARE_CALLS = 100
# Idle streams live long: ping them, and let clients ping, so that a peer that has gone is noticed
# and no proxy between thinks the connection dead.
# https://github.com/grpc/grpc/blob/master/doc/keepalive.md
OPTIONS = {
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.min_ping_interval_without_data_ms": 5_000,
    "grpc.http2.max_ping_strikes": 0,
    # Two servers on one port would share its connections at random; say that it is taken.
    "grpc.so_reuseport": 0,
}


class StreamingGRPCServer(GRPCServer):
    """The gRPC edge: one server a dialect. The servicers do the work; this puts it together."""

    _data_plane: StreamingDataPlane

    def __init__(
        self,
        settings: Settings,
        data_plane: StreamingDataPlane,
        model_repository_handlers: ModelRepositoryHandlers,
    ):
        super().__init__(settings, data_plane, model_repository_handlers)
        self._servers: list[grpc.aio.Server] = []
        self._admissions: dict[grpc.aio.Server, Admission] = {}
        self._started = asyncio.Event()
        self._stopped = False

    def _create_server(self) -> grpc.aio.Server:
        """The server of MLServer's dialect."""
        servicer = StreamingServicer(self._data_plane, self._model_repository_handlers)
        server = self._serving(servicer, self._settings.grpc_port)
        add_ModelRepositoryServiceServicer_to_server(
            RepositoryServicer(self._model_repository_handlers), server
        )
        # Not on the Triton port: there MLServer's description of the replies would be wrong.
        reflection.enable_server_reflection(
            (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        return server

    def _serving(self, servicer: StreamingServicer, port: int) -> grpc.aio.Server:
        """A server for one dialect, bound to its port.

        Raises:
            SystemExit: the port is taken.
        """
        open_seconds = self._data_plane.streaming.limits.stream_idle_seconds
        admission = Admission(2 * self._calls_at_once, open_seconds)
        server = self._new_server([*self._interceptors_of_both, admission])
        self._admissions[server] = admission
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, servicer.handlers()),)
        )
        readiness = ReadinessHealth(self._data_plane, SERVICE)
        health_pb2_grpc.add_HealthServicer_to_server(readiness, server)
        host = self._settings.host
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"  # IPv6's has colons
        try:
            if (certificates := self._certificates) is None:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, certificates.grpc_credentials())
        except RuntimeError as error:
            raise cannot_listen(host, port) from error
        return server

    def _new_server(self, interceptors: list[grpc.aio.ServerInterceptor]) -> grpc.aio.Server:
        options = self._get_options()
        if self._data_plane.streaming.grpc.server == "http2":
            # Not above: where it is off, nothing of it is loaded.
            from .http2.server import Http2Server

            streaming = self._data_plane.streaming
            options.append(("request_seconds", streaming.limits.stream_idle_seconds))
            options.append(("open_methods", OPEN_METHODS))
            return Http2Server(
                interceptors, options, self._certificates, self._data_plane.request_room
            )
        return grpc.aio.server(interceptors=interceptors, options=options)

    async def start(self) -> None:
        if self._stopped:
            return
        host, port = self._settings.host, self._settings.grpc_port
        self._servers = [self._create_server()]
        triton_port = self._data_plane.streaming.triton_port
        if triton_port is not None:
            servicer = TritonServicer(self._data_plane, self._model_repository_handlers)
            self._servers.append(self._serving(servicer, triton_port))
        try:
            for server in self._servers:
                await server.start()
        finally:
            self._started.set()
        scheme = "http" if self._certificates is None else "https"
        logger.info("gRPC server running on %s://%s:%s", scheme, host, port)
        if triton_port is not None:
            logger.info("gRPC server for Triton's clients on %s://%s:%s", scheme, host, triton_port)
        await asyncio.gather(*(server.wait_for_termination() for server in self._servers))

    async def stop(self, sig: int | None = None) -> None:
        """Drain both edges, then close this one. MLServer stops the REST edge after it.

        Called again, by a second signal, it ends the drain that is under way. One that is starting
        is waited for: until then gRPC would not stop it, and keep its port. One that has not begun
        does not start any more.
        """
        self._stopped = True
        await self._data_plane.drain()
        if self._servers:
            await self._started.wait()
            await asyncio.gather(
                *(
                    self._admissions[server].last_calls().stop(server, GRACE_SECONDS)
                    for server in self._servers
                )
            )

    @property
    def _certificates(self) -> Certificates | None:
        return open_certificates(
            self._data_plane.streaming.tls, self._settings.model_repository_root
        )

    @cached_property
    def _interceptors_of_both(self) -> list[grpc.aio.ServerInterceptor]:
        # Made once: the metrics in them can be registered once only.
        interceptors: list[grpc.aio.ServerInterceptor] = []
        if self._settings.debug:
            interceptors.append(LoggingInterceptor())
        if self._settings.metrics_endpoint:
            interceptors.append(StreamMetrics(enable_handling_time_histogram=True))
        if self._settings.tracing_server:
            health_calls = filters.any_of(
                filters.full_method_name(f"/{SERVICE}/ServerLive"),
                filters.full_method_name(f"/{SERVICE}/ServerReady"),
                filters.service_name(health.SERVICE_NAME),
            )
            interceptors.append(
                StreamTracing(
                    get_tracer_provider(self._settings).get_tracer(__name__),
                    filter_=filters.negate(health_calls),
                )
            )
        if self._data_plane.authenticator.enabled:
            # Innermost: refused calls are counted and traced too.
            interceptors.append(AuthInterceptor(self._data_plane.authenticator))
        return interceptors

    @property
    def _calls_at_once(self) -> int:
        """More than the limits let in: past these a call is refused, and told so; past this it
        waits at its client."""
        limits = self._data_plane.streaming.limits
        return limits.streams + limits.waiting + SPARE_CALLS

    def _get_options(self) -> list[tuple[str, Any]]:
        limits = self._data_plane.streaming.limits
        bounds = {
            "grpc.max_receive_message_length": limits.request_bytes,
            "grpc.max_concurrent_streams": self._calls_at_once,
            # Calls that Python has not looked at yet. Past the first, gRPC cancels some, anybody's,
            # so it is more than a few connections can open; a rapid reset is no concern of the
            # others.
            "grpc.server.max_pending_requests": 4 * self._calls_at_once,
            "grpc.server.max_pending_requests_hard_limit": 8 * self._calls_at_once,
        }
        streaming = self._data_plane.streaming
        if (age := streaming.grpc.max_connection_age_seconds) is not None:
            # gRPC moves it by up to a tenth, so that not all clients come back at once.
            # https://github.com/grpc/proposal/blob/master/A9-server-side-conn-mgt.md
            bounds["grpc.max_connection_age_ms"] = max(1, round(1000 * age))
            bounds["grpc.max_connection_age_grace_ms"] = round(1000 * streaming.drain_seconds)
        of_mlserver = dict(super()._get_options())
        # What is sent is bounded by `ResponseBound`: here it would end the call.
        unbounded = {"grpc.max_send_message_length": -1}
        return list({**OPTIONS, **bounds, **of_mlserver, **unbounded}.items())
