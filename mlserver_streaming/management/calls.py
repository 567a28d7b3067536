"""The calls by which the service is asked about itself, for both edges."""

from collections.abc import Mapping
from typing import Any

from mlserver.settings import Settings

from ..streams.data_plane import StreamingDataPlane
from ..streams.model_config import model_config
from .log_settings import LogSettings
from .statistics import statistics
from .trace_settings import TraceSettings


class ManagementCalls:
    """What each returns is JSON as Triton has it. Errors leave as MLServerErrors, as they leave the
    data plane.

    Attributes:
        traces: the traces' settings; their sampler is to decide what is traced.
    """

    def __init__(self, plane: StreamingDataPlane, settings: Settings):
        self._plane = plane
        self._log = LogSettings()
        self.traces = TraceSettings(bool(settings.tracing_server))

    async def config(self, name: str, version: str | None = None) -> dict[str, Any]:
        """A model's configuration."""
        return model_config(await self._plane.model(name, version))

    async def statistics(self, name: str = "", version: str | None = None) -> dict[str, Any]:
        """What one model did, or all did."""
        return await statistics(self._plane, name, version)

    def log_settings(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The log's settings, changed first where there are changes."""
        return self._log.change(changes) if changes else self._log.read()

    async def trace_settings(self, changes: Mapping[str, Any], name: str = "") -> dict[str, Any]:
        """The traces' settings, of a model or of all, changed first where there are changes."""
        if name:
            await self._plane.model(name)
        return self.traces.change(changes, name) if changes else self.traces.read()
