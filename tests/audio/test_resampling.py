"""Other sample rates, in any pieces."""

import numpy as np
import pytest

from mlserver_streaming.audio.resampling import Resampler
from tests.audio.sounds import RATE, tone


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000])
def test_a_tone_stays_a_tone_however_it_is_cut(rate: int) -> None:
    sound = tone(0.7, 440, rate)
    results = []
    for size in (len(sound), 1, 1009):
        if size == 1 and rate > RATE:
            continue
        resampler = Resampler(rate, RATE)
        parts = [resampler.feed(sound[at : at + size]) for at in range(0, len(sound), size)]
        results.append(np.concatenate([*parts, resampler.finish()]))
    assert all(np.array_equal(results[0], other) for other in results[1:])
    expected = tone(0.7, 440)
    assert abs(len(results[0]) - len(expected)) <= 1
    middle = slice(500, 10_000)
    assert np.allclose(results[0][middle], expected[middle], atol=0.01)
