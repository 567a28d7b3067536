"""From any sample rate to another, as the samples come. soxr does it: https://python-soxr.readthedocs.io"""

import numpy as np
import soxr

from .samples import Floats


class Resampler:
    """One recording's samples at another rate; the result does not depend on how they were cut."""

    def __init__(self, rate: int, wanted: int):
        """
        Args:
            rate, wanted: samples a second, in and out.
        """
        self._stream = None if rate == wanted else soxr.ResampleStream(rate, wanted, 1, "float32")

    def feed(self, samples: Floats) -> Floats:
        """[n] samples in; those that are certain by now out."""
        if self._stream is None or not len(samples):
            return samples
        found: Floats = self._stream.resample_chunk(samples)
        return found

    def finish(self) -> Floats:
        """The rest."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        found: Floats = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return found
