"""MLServer's metrics server behind our TLS, and behind our keys where the settings say so."""

from __future__ import annotations

from typing import Any

import uvicorn
from fastapi import FastAPI
from mlserver.logging import logger
from mlserver.metrics import MetricsServer

from . import stream_log
from .auth import authenticator
from .http_server import HttpServer
from .rest_auth import protect
from .settings import StreamingSettings
from .tls import open_certificates, with_tls

# Scrapes are short.
IDLE_SECONDS = 60


class StreamingMetricsServer(MetricsServer):
    """Prometheus's endpoint; what is exported is MLServer's and serving/metrics.py's."""

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
