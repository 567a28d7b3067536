"""Samples' forms."""

import numpy as np
import pytest

from mlserver_streaming.audio.errors import AudioError
from mlserver_streaming.audio.samples import check_rate, from_floats, from_pcm, to_pcm


def test_pcm_and_back() -> None:
    all_values = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(to_pcm(from_pcm(all_values)), all_values)


def test_overshoot_is_cut_off() -> None:
    assert from_floats(np.array([1.2, -1.2, 0.5])).tolist() == [1.0, -1.0, 0.5]
    assert to_pcm(np.array([1.0, -1.0], np.float32)).tolist() == [32767, -32768]


@pytest.mark.parametrize(
    ("value", "says"),
    [(np.nan, "sample 1 is not a finite"), (np.inf, "sample 1 is not a finite"), (300, "is 300;")],
)
def test_floats_that_cannot_be(value: float, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        from_floats(np.array([0.0, value], np.float32))
    assert not len(from_floats(np.zeros(0, np.float32)))


def test_rates() -> None:
    assert check_rate(8000) == 8000
    for rate in (0, -1, 1_000_000):
        with pytest.raises(AudioError, match=f"not {rate}"):
            check_rate(rate)
