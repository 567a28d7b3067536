"""How long worker processes are waited for."""

from pydantic import Field

from .values import Block, Seconds


class WorkerSettings(Block):
    """Models in worker processes (MLServer's `parallel_workers`)."""

    heartbeat_seconds: Seconds | None = Field(
        default=60,
        description="How long a worker may show no sign of life (stopped, or held by C code that "
        "keeps Python's lock) before another takes its place; null for ever. Not counted while it "
        "loads a model.",
    )
    load_seconds: Seconds | None = Field(
        default=600, description="How long a worker may take to load a model; null for ever."
    )
