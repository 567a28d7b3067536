"""Samples: float32 mono within -1 to 1 on the way in, int16 for what listens to them."""

import numpy as np
from numpy.typing import NDArray

from .errors import AudioError

Floats = NDArray[np.float32]
Pcm = NDArray[np.int16]

# Decoders and filters overshoot full scale a little; what is far above it has another scale.
LOUDEST = 1.25
FULL_SCALE = 32768.0
# Telephones record at 8 kHz, studios at 192; the bounds keep a wrong rate from filling memory.
MIN_RATE, MAX_RATE = 2_000, 384_000


def check_rate(rate: int) -> int:
    """`rate` in Hz.

    Raises:
        AudioError: no recorder has such a rate.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"the sample rate must be from {MIN_RATE} to {MAX_RATE} Hz, not {rate}")
    return rate


def from_pcm(samples: NDArray[np.integer]) -> Floats:
    """int16 samples, any shape, as float32."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def from_floats(samples: NDArray[np.floating]) -> Floats:
    """Floating samples, any shape, as float32 within -1 to 1; slight overshoot is cut off.

    Raises:
        AudioError: some are not finite, or far out of range.
    """
    if not samples.size:
        return samples.astype(np.float32)
    # One pass answers both questions: not a number compares false, infinity is too loud.
    peak = float(np.abs(samples).max())
    if not peak <= LOUDEST:
        if not np.isfinite(samples).all():
            at = int(np.flatnonzero(~np.isfinite(samples.reshape(-1)))[0])
            raise AudioError(f"sample {at} is not a finite number")
        raise AudioError(
            f"floating samples must lie within -1 to 1, but there is {peak:g}; divide 16-bit "
            f"samples by {FULL_SCALE:.0f}"
        )
    found: Floats = np.clip(samples, -1.0, 1.0).astype(np.float32)
    return found


def to_pcm(samples: Floats) -> Pcm:
    """float32 samples as int16, rounded, full scale cut off."""
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    found: Pcm = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return found
