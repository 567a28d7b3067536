"""Log-mel features beside a plain reference, written the slow way."""

import cmath
import math

import numpy as np
import pytest

from mlserver_streaming.audio.features import LogMel


def reference(samples: list[float], log_mel: LogMel) -> np.ndarray:
    """The same features by their definitions, one number at a time."""
    n_fft, hop = log_mel.fft, round(log_mel.hop * log_mel.rate)
    size = round(log_mel.window * log_mel.rate)
    emphasised = [
        samples[i] - log_mel.preemphasis * samples[i - 1] if i else samples[0]
        for i in range(len(samples))
    ]
    left = (n_fft - size) // 2
    window = [0.0] * n_fft
    for i in range(size):
        window[left + i] = 0.5 - 0.5 * math.cos(2 * math.pi * i / (size - 1))

    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)

    def hertz(value: float) -> float:
        return value * 200 / 3 if value < 15 else 1000 * math.exp((value - 15) * math.log(6.4) / 27)

    top = mel(log_mel.high or log_mel.rate / 2)
    low = mel(log_mel.low)
    edges = [hertz(low + (top - low) * i / (log_mel.mels + 1)) for i in range(log_mel.mels + 2)]
    frames = len(samples) // hop + 1
    found = np.zeros((log_mel.mels, frames))
    for frame in range(frames):
        begin = frame * hop - n_fft // 2
        part = [
            (emphasised[begin + i] if 0 <= begin + i < len(samples) else 0.0) * window[i]
            for i in range(n_fft)
        ]
        power = []
        for k in range(n_fft // 2 + 1):
            total = sum(
                value * cmath.exp(-2j * math.pi * k * i / n_fft)
                for i, value in enumerate(part)
                if value
            )
            power.append(abs(total) ** 2)
        for band in range(log_mel.mels):
            a, b, c = edges[band : band + 3]
            energy = 0.0
            for k, value in enumerate(power):
                hz = k * log_mel.rate / n_fft
                weight = max(0.0, min((hz - a) / (b - a), (c - hz) / (c - b))) * 2 / (c - a)
                energy += weight * value
            found[band, frame] = math.log(energy + log_mel.log_guard)
    if log_mel.normalise == "per_feature":
        for band in range(log_mel.mels):
            row = list(found[band])
            mean = sum(row) / frames
            deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / (frames - 1))
            found[band] = [(value - mean) / (deviation + 1e-5) for value in row]
    return found


@pytest.mark.parametrize("normalise", ["none", "per_feature"])
def test_features_are_those_of_the_definition(normalise: str) -> None:
    log_mel = LogMel(rate=4000, mels=8, fft=128, window=0.025, normalise=normalise)
    samples = np.random.default_rng(0).normal(scale=0.1, size=430).astype(np.float32)
    found = log_mel(samples)
    assert found.dtype == np.float32
    assert found.shape == (8, log_mel.frames(430)) == (8, 11)
    assert np.allclose(found, reference(samples.tolist(), log_mel), atol=2e-3)


def test_jaspers_settings() -> None:
    found = LogMel()(np.random.default_rng(0).normal(scale=0.1, size=16_000).astype(np.float32))
    assert found.shape == (64, 101)
    assert np.allclose(found.mean(axis=1), 0, atol=1e-3)
    assert np.allclose(found.std(axis=1, ddof=1), 1, atol=1e-2)


def test_silence_and_next_to_nothing() -> None:
    for size in (0, 1, 16_000):
        assert np.isfinite(LogMel()(np.zeros(size, np.float32))).all()


def test_one_normalisation_for_all() -> None:
    found = LogMel(normalise="all_features")(np.sin(np.arange(8000)).astype(np.float32))
    assert abs(found.mean()) < 1e-3
    assert abs(found[0].mean()) > 0.1


@pytest.mark.parametrize("wrong", [{"normalise": "some"}, {"mels": 0}, {"window": 1.0}, {"hop": 0}])
def test_settings_are_checked(wrong: dict) -> None:
    with pytest.raises(ValueError):
        LogMel(**wrong)
