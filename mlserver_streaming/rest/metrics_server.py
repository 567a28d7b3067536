"""MLServer's metrics server behind our TLS, and behind our keys where the settings say so."""

from __future__ import annotations

import os
from collections import deque
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

from ..access.authenticator import authenticator
from ..access.tls import open_certificates, with_tls
from ..settings import StreamingSettings
from ..watch import stream_log
from ..watch.metrics_folder import open_run
from ..watch.process_metrics import ProcessMetrics
from .auth import protect
from .http_server import HttpServer

# Scrapes are short.
IDLE_SECONDS = 60
# Workers that died of which the counts are kept: four small files each.
MAX_DEAD = 100


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
        self._app = self._get_app()
        self._dead: deque[int] = deque()

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
        folder = self._settings.model_repository_root
        auth = StreamingSettings.read(folder).auth
        if auth.protect_metrics:
            protect(app, authenticator(auth, folder or "."))
        return app

    async def start(self) -> None:
        config = self._get_config()
        scheme = "https" if config.is_ssl else "http"
        address = f"{scheme}://{self._settings.host}:{self._settings.metrics_port}"
        logger.info("Prometheus's metrics on %s%s", address, self._settings.metrics_endpoint)
        server: Any = HttpServer(config, IDLE_SECONDS)
        self._server = server
        await self._server.serve()

    def _get_config(self) -> uvicorn.Config:
        folder = self._settings.model_repository_root
        certificates = open_certificates(StreamingSettings.read(folder).tls, folder)
        config = super()._get_config()  # type: ignore[no-untyped-call]
        stream_log.configure(self._settings)  # this config has set uvicorn's handlers anew
        return with_tls(config, certificates)
