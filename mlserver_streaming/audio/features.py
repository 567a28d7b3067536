"""Log-mel features of speech, as NVIDIA's NeMo computes them for Jasper, QuartzNet and Citrinet.

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/api.html#audio-preprocessors
(AudioToMelSpectrogramPreprocessor, dither left out: the same sound gives the same features.)
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .samples import Floats

Features = NDArray[np.float32]
# Slaney's mel scale: linear below 1 kHz, logarithmic above.
LINEAR_HZ, BREAK_HZ, LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27
STD_GUARD = 1e-5
NORMALISATIONS = ("per_feature", "all_features", "none")


@dataclass(frozen=True)
class LogMel:
    """The features that a model was trained with; times in seconds, frequencies in Hz.

    Attributes:
        normalise: each mel band by its own mean and deviation, all by one, or not at all.
        log_guard: added before the logarithm.
    """

    rate: int = 16_000
    mels: int = 64
    window: float = 0.02
    hop: float = 0.01
    fft: int = 512
    preemphasis: float = 0.97
    low: float = 0.0
    high: float | None = None
    log_guard: float = 2.0**-24
    normalise: str = "per_feature"

    def __post_init__(self) -> None:
        if self.normalise not in NORMALISATIONS:
            raise ValueError(
                f"normalise must be one of {', '.join(NORMALISATIONS)}, not {self.normalise!r}"
            )
        if not 1 <= self.mels <= 256:
            raise ValueError(f"mels must be from 1 to 256, not {self.mels}")
        if not 0 < self.hop <= self.window or round(self.window * self.rate) > self.fft:
            raise ValueError("hop must be at most window, and window at most fft samples")

    def frames(self, samples: int) -> int:
        """Frames of so many samples."""
        return samples // round(self.hop * self.rate) + 1

    def __call__(self, samples: Floats) -> Features:
        """The features [mels, frames] of [n] samples within -1 to 1."""
        emphasised = samples.astype(np.float32)
        if self.preemphasis:
            emphasised[1:] -= np.float32(self.preemphasis) * samples[:-1]
        # Frame k is centred on sample k * hop; beyond both ends there is silence.
        padded = np.pad(emphasised, self.fft // 2)
        hop = round(self.hop * self.rate)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.fft)[::hop]
        power = np.abs(np.fft.rfft(windows * self._window, axis=1)) ** 2
        logged = np.log(power @ self._filters.T + self.log_guard).T
        return np.ascontiguousarray(self._normalised(logged), dtype=np.float32)

    def _normalised(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        if self.normalise == "none":
            return features
        axis = 1 if self.normalise == "per_feature" else None
        mean = features.mean(axis=axis, keepdims=True)
        many = features.shape[1] > 1
        deviation = features.std(axis=axis, ddof=1 if many else 0, keepdims=True)
        found: NDArray[np.floating] = (features - mean) / (deviation + STD_GUARD)
        return found

    @cached_property
    def _window(self) -> Features:
        """A Hann window in the middle of the transform."""
        size = round(self.window * self.rate)
        left = (self.fft - size) // 2
        return np.pad(np.hanning(size), (left, self.fft - size - left)).astype(np.float32)

    @cached_property
    def _filters(self) -> Features:
        """Triangles over the spectrum's bins [mels, fft / 2 + 1], each of the same area."""
        high = self.high or self.rate / 2
        edges = _to_hz(np.linspace(_to_mel(self.low), _to_mel(high), self.mels + 2))
        bins = np.linspace(0, self.rate / 2, self.fft // 2 + 1)
        lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
        triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
        return triangles.astype(np.float32)


def _to_mel(hz: float) -> float:
    if hz < BREAK_HZ:
        return hz / LINEAR_HZ
    return float(BREAK_HZ / LINEAR_HZ + np.log(hz / BREAK_HZ) / LOG_STEP)


def _to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = BREAK_HZ * np.exp(LOG_STEP * (mels - BREAK_HZ / LINEAR_HZ))
    return np.where(mels < BREAK_HZ / LINEAR_HZ, mels * LINEAR_HZ, above)
