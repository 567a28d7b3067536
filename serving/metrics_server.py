"""MLServer's metrics server behind our TLS."""

from __future__ import annotations

import uvicorn
from mlserver.metrics import MetricsServer

from .settings import StreamingSettings
from .tls import open_certificates, with_tls


class StreamingMetricsServer(MetricsServer):
    """Prometheus's endpoint; what is exported is MLServer's and serving/metrics.py's."""

    def _get_config(self) -> uvicorn.Config:
        folder = self._settings.model_repository_root
        certificates = open_certificates(StreamingSettings.read(folder).tls, folder)
        config = super()._get_config()  # type: ignore[no-untyped-call]
        return with_tls(config, certificates)
