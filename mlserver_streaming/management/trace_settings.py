"""The traces' settings by Triton's names: whether calls are traced, and which share of them.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_trace.html
"""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from ..access.callers import current
from ..errors import BadRequestError, UnsupportedError, shown
from ..watch.stream_log import log_setting
from .changes import require_service_admin

LEVEL, RATE = "trace_level", "trace_rate"
OFF, TIMESTAMPS = "OFF", "TIMESTAMPS"
# What Triton has besides, as it is here: all traces go to `tracing_server`, as they are made.
FIXED = {
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "opentelemetry",
}
MOST_RATE = 2**31 - 1


class Share(Sampler):
    """Samples one call of so many, or none; a caller's own choice, in its headers, comes first."""

    def __init__(self) -> None:
        self._sampler: Sampler = ALWAYS_OFF

    def set(self, rate: int | None) -> None:
        """One of `rate` calls; None is no call at all."""
        found = ALWAYS_OFF if rate is None else ParentBased(TraceIdRatioBased(1 / rate))
        self._sampler = found

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        return self._sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"Share({self._sampler.get_description()})"


class TraceSettings:
    """
    Attributes:
        sampler: decides which calls are traced.
    """

    def __init__(self, there: bool):
        """
        Args:
            there: whether there is a server for traces.
        """
        self.sampler = Share()
        self._there = there
        self._level, self._rate = self._began = (TIMESTAMPS if there else OFF), 1
        self._apply()

    def read(self) -> dict[str, Any]:
        """Each as text, `trace_level` as a list of it."""
        return {LEVEL: [self._level], RATE: str(self._rate), **FIXED}

    def change(self, changes: Mapping[str, Any], model: str = "") -> dict[str, Any]:
        """Change some; None brings one back to what it was at the start. All of them afterwards.

        Args:
            model: whose; empty for all models.

        Raises:
            ForbiddenError: the caller is no admin of the service.
            UnsupportedError: one cannot be changed here, or not for one model.
            BadRequestError: there is no such setting, or its value is of the wrong kind.
        """
        require_service_admin()
        level, rate = self._level, self._rate
        for name, value in changes.items():
            if name == LEVEL:
                level = self._began[0] if value is None else _level(value)
            elif name == RATE:
                rate = self._began[1] if value is None else _rate(value)
            elif name not in FIXED:
                known = ", ".join([LEVEL, RATE, *FIXED])
                raise BadRequestError(
                    f"There is no trace setting '{shown(name)}'; there are {known}."
                )
            elif value is not None and str(value) != FIXED[name]:
                raise UnsupportedError(
                    f"Trace setting '{name}' cannot be changed; it is '{FIXED[name]}'."
                )
        if (level, rate) == (self._level, self._rate):
            return self.read()
        if model:
            raise UnsupportedError(
                "Trace settings cannot be changed for one model; change them for the service, "
                "without a model's name."
            )
        if not self._there:
            raise UnsupportedError(
                "Trace settings cannot be changed where no traces are made; set `tracing_server` "
                "in settings.json and start the service again."
            )
        log_setting("trace", current().name, {LEVEL: level, RATE: rate})
        self._level, self._rate = level, rate
        self._apply()
        return self.read()

    def _apply(self) -> None:
        self.sampler.set(self._rate if self._level == TIMESTAMPS else None)


def _level(value: Any) -> str:
    found = value if isinstance(value, list) else [value]
    if found in ([OFF], [TIMESTAMPS]):
        return str(found[0])
    if found and all(each in (OFF, TIMESTAMPS, "TENSORS", "MIN", "MAX") for each in found):
        raise UnsupportedError(
            f"Trace setting '{LEVEL}' cannot be other than {OFF} or {TIMESTAMPS}."
        )
    raise BadRequestError(f"Trace setting '{LEVEL}' must be {OFF} or {TIMESTAMPS}.")


def _rate(value: Any) -> int:
    (text,) = value if isinstance(value, list) and len(value) == 1 else (value,)
    text = str(text)
    if isinstance(value, bool) or not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadRequestError(f"Trace setting '{RATE}' must be a whole number, 1 or more.")
    if not 0 < int(text) <= MOST_RATE:
        raise BadRequestError(f"Trace setting '{RATE}' must be from 1 to {MOST_RATE}.")
    return int(text)
