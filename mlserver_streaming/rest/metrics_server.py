"""The port for those who watch: metrics and liveness, answered also while the models' loop is busy.

It is MLServer's metrics server in a thread and an event loop of its own, behind our TLS, and behind
our keys where the settings say so. Liveness is the models' loop's: while that turns at all, the
service is at work, and must not be restarted for being busy.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from contextlib import suppress
from typing import Any

import uvicorn
from fastapi import FastAPI
from mlserver.logging import logger
from mlserver.metrics import MetricsServer
from mlserver.metrics.prometheus import PROMETHEUS_MULTIPROC_DIR, PrometheusEndpoint, stop_metrics
from mlserver.parallel import Worker
from mlserver.settings import Settings
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import mark_process_dead
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..access.authenticator import Authenticator
from ..access.tls import open_certificates, with_tls
from ..settings import StreamingSettings
from ..watch import stream_log
from ..watch.metrics_folder import open_run
from ..watch.process_metrics import ProcessMetrics
from ..watch.pulse import Pulse
from .auth import protect
from .http_server import HttpServer

# Scrapes are short.
IDLE_SECONDS = 60
# Workers that died of which the counts are kept: four small files each.
MAX_DEAD = 100
LIVE = "/v2/health/live"
THREAD = "metrics"


class EveryProcess(PrometheusEndpoint):
    """The endpoint of a service with workers."""

    def __init__(self, settings: Settings):
        # Not the parent's: that lets this process count in files too.
        self._settings = settings
        self._all = CollectorRegistry()
        self._all.register(ProcessMetrics(settings.metrics_dir))

    @property
    def _registry(self) -> CollectorRegistry:
        return self._all


class StreamingMetricsServer(MetricsServer):
    """Prometheus's endpoint; what is exported is MLServer's and watch/metrics.py's."""

    def __init__(self, settings: Settings):
        if settings.parallel_workers:
            settings.metrics_dir = open_run(settings.metrics_dir)
            # Workers inherit it, and count in files from their first import on.
            os.environ[PROMETHEUS_MULTIPROC_DIR] = settings.metrics_dir
        self._settings = settings
        self._endpoint = (EveryProcess if settings.parallel_workers else PrometheusEndpoint)(
            settings
        )
        streaming = StreamingSettings.read(settings.model_repository_root)
        self._pulse = Pulse(streaming.liveness_seconds)
        self._app = self._get_app()
        self._dead: deque[int] = deque()
        self._server: Any = None
        self._stopped = False

    async def on_worker_stop(self, worker: Worker) -> None:
        """A worker is gone: what it held is nought, what it counted stays.

        MLServer removes that too, and a counter that falls looks like a restart to Prometheus.
        """
        if not worker.pid:
            return
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        self._dead.append(worker.pid)
        if len(self._dead) > MAX_DEAD:
            await stop_metrics(self._settings, self._dead.popleft())

    def _get_app(self) -> FastAPI:
        app: FastAPI = super()._get_app()  # type: ignore[no-untyped-call]
        app.add_route(LIVE, self._live)
        folder = self._settings.model_repository_root
        auth = StreamingSettings.read(folder).auth
        if auth.protect_metrics:
            # Not the other ports': what waits for an issuer's keys belongs to one event loop.
            protect(app, Authenticator(auth, folder or "."))
        return app

    async def _live(self, request: Request) -> Response:
        silence, allowed = self._pulse.silence(), self._pulse.seconds
        if silence < allowed:
            return Response()
        said = (
            f"The service has been stuck for {silence:.0f} s; restart it. One that is busy for "
            f"longer than {allowed:g} s at a time needs a longer liveness_seconds."
        )
        return JSONResponse({"error": said}, 503)

    async def start(self) -> None:
        if self._stopped:
            return
        config = self._get_config()
        scheme = "https" if config.is_ssl else "http"
        address = f"{scheme}://{self._settings.host}:{self._settings.metrics_port}"
        logger.info("Prometheus's metrics on %s%s", address, self._settings.metrics_endpoint)
        logging.getLogger("uvicorn.error").addFilter(_is_not_said_twice)
        self._server = HttpServer(config, IDLE_SECONDS)
        beating = asyncio.create_task(self._pulse.beat())
        try:
            await _serve_apart(self._server)
        finally:
            beating.cancel()

    async def stop(self, sig: int | None = None) -> None:
        self._stopped = True
        if self._server is not None:
            await super().stop(sig)

    def _get_config(self) -> uvicorn.Config:
        folder = self._settings.model_repository_root
        certificates = open_certificates(StreamingSettings.read(folder).tls, folder)
        config = super()._get_config()  # type: ignore[no-untyped-call]
        stream_log.configure(self._settings)  # this config has set uvicorn's handlers anew
        return with_tls(config, certificates)


async def _serve_apart(server: uvicorn.Server) -> None:
    """Serve in a thread and an event loop of its own, until the server exits."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if over.done():
            return
        if error is None:
            over.set_result(None)
        else:
            over.set_exception(error)

    def serve() -> None:
        error: BaseException | None = None
        try:
            asyncio.run(server.serve())
        except BaseException as raised:  # SystemExit too: uvicorn's, where it cannot listen
            error = raised
        with suppress(RuntimeError):  # the service has ended without it
            loop.call_soon_threadsafe(tell, error)

    # Not a daemon: Python waits for it at its end. One that is still in uvloop's code then is the
    # likely reason for starts that failed with a crash (-11) instead of their one line's status.
    threading.Thread(target=serve, name=THREAD).start()
    try:
        await over
    finally:
        server.should_exit = server.force_exit = True


def _is_not_said_twice(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's is more than what the other server says too as it starts and
    ends."""
    return record.threadName != THREAD or record.levelno > logging.INFO
