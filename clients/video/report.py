"""What is told of a video that was streamed: counts, rate and latencies. No I/O."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import ItemError

PERCENTILES = (50, 95, 99)


@dataclass
class VideoReport:
    """Counts responses; `seconds` runs from `start` to `stop`, `written` are the files left."""

    frames: int = 0
    failed: int = 0
    first_error: ItemError | None = None
    # Eight bytes a frame: a camera may run for days.
    latencies: array[float] = field(default_factory=lambda: array("d"))
    seconds: float = 0.0
    written: list[Path] = field(default_factory=list)
    _began: float = 0.0

    def add(self, latency: float, error: ItemError | None) -> None:
        """Count one response; `latency` in seconds."""
        self.frames += 1
        self.latencies.append(latency)
        if error is not None:
            self.failed += 1
            self.first_error = self.first_error or error

    def start(self) -> None:
        """Start the clock, when the first frame can be sent."""
        self._began = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock, when the last response is written."""
        self.seconds = time.perf_counter() - self._began

    def percentile(self, percent: float) -> float:
        """The latency, in seconds, that `percent` of the frames stay within; 0 without frames."""
        return float(np.percentile(self.latencies, percent)) if self.latencies else 0.0

    def __str__(self) -> str:
        latencies = "/".join(f"{self.percentile(percent) * 1000:.1f}" for percent in PERCENTILES)
        names = "/".join(f"p{percent}" for percent in PERCENTILES)
        rate = self.frames / self.seconds if self.seconds > 0 else 0.0
        text = (
            f"{self.frames} frames in {self.seconds:.1f} s ({rate:.1f} frames/s), "
            f"latency {names} {latencies} ms, {self.failed} failed"
        )
        return f"{text}; first: {self.first_error}" if self.first_error else text
