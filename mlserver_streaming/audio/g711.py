"""G.711, the telephone's eight bits a sample, as 16-bit samples.

https://www.itu.int/rec/T-REC-G.711: a sign, three bits of an exponent, four of a mantissa.
"""

import numpy as np

from .samples import Pcm

RATE = 8000
SIGN, EXPONENT, MANTISSA = 0x80, 0x70, 0x0F
# What is added before the exponent is taken, and taken away after it.
MU_BIAS = 0x84
# Every other bit of an A-law code is inverted on the line.
A_INVERTED = 0x55


def _mu_law() -> Pcm:
    codes = ~np.arange(256, dtype=np.int32)
    steps = ((codes & MANTISSA) << 3) + MU_BIAS
    found = (steps << ((codes & EXPONENT) >> 4)) - MU_BIAS
    table: Pcm = np.where(codes & SIGN, -found, found).astype(np.int16)
    return table


def _a_law() -> Pcm:
    codes = np.arange(256, dtype=np.int32) ^ A_INVERTED
    exponents = (codes & EXPONENT) >> 4
    # The lowest segment has no leading one.
    steps = ((codes & MANTISSA) << 4) + 8 + np.where(exponents, 0x100, 0)
    found = steps << np.maximum(exponents - 1, 0)
    table: Pcm = np.where(codes & SIGN, found, -found).astype(np.int16)
    return table


_MU_LAW, _A_LAW = _mu_law(), _a_law()


def from_mu_law(data: bytes) -> Pcm:
    """mu-law bytes as [n] int16 samples at 8 kHz."""
    found: Pcm = _MU_LAW[np.frombuffer(data, np.uint8)]
    return found


def from_a_law(data: bytes) -> Pcm:
    """A-law bytes as [n] int16 samples at 8 kHz."""
    found: Pcm = _A_LAW[np.frombuffer(data, np.uint8)]
    return found
