"""One span for each HTTP call, on MLServer's `tracing_server`; a stream is one call."""

from fastapi import FastAPI
from mlserver.settings import Settings
from mlserver.tracing import get_tracer_provider
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from .auth import OPEN_PATHS


def trace_calls(app: FastAPI, settings: Settings) -> None:
    """Trace an app's calls where the settings want that.

    MLServer's own tracing makes another span for each part that is received or sent: for a stream
    of two hundred words, two hundred.
    """
    if not settings.tracing_server:
        return
    FastAPIInstrumentor.uninstrument_app(app)
    # What it has just built would be served without what is added to the app from here on.
    app.middleware_stack = None
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=get_tracer_provider(settings),
        # Probes ask every few seconds, and a trace of that tells nothing.
        excluded_urls=",".join(OPEN_PATHS),
        exclude_spans=["receive", "send"],
    )
