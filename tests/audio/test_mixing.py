"""Several channels to one: the mean, and one of them where they cancel one another."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mlserver_streaming.audio.decoding import FileReader
from mlserver_streaming.audio.endpointing import Cutting
from mlserver_streaming.audio.listening import Listener
from mlserver_streaming.audio.mixing import Mixer
from mlserver_streaming.audio.voice import SileroVoice
from tests.audio.sounds import RATE, clips, coded, needs_speech, silence, tone, wav
from tests.audio.test_decoding import read

Samples = NDArray[np.float32]
NOISE = np.random.default_rng(7).normal(0, 1, (10 * RATE, 2)).astype(np.float32)


def mixed(channels: Samples, size: int = 10**9) -> Samples:
    mixer = Mixer(RATE, channels.shape[1])
    found = [mixer.feed(channels[at : at + size]) for at in range(0, len(channels), size)]
    return np.concatenate([*found, mixer.finish()])


def power(samples: Samples) -> float:
    return float(np.square(samples).mean())


def voice(seconds: float = 4) -> Samples:
    """Noise that comes and goes, as words do."""
    sound = 0.2 * NOISE[: round(seconds * RATE), 0]
    return sound * (np.arange(len(sound)) // 4000 % 2).astype(np.float32)


def test_what_does_not_cancel_is_the_mean() -> None:
    for other in (voice(), 0 * voice(), -0.3 * voice(), voice()[::-1]):
        both = np.stack([voice(), other], axis=1)
        assert np.array_equal(mixed(both), both.mean(axis=1, dtype=np.float32))


@pytest.mark.parametrize("gain", [1.0, 0.8, 1.3])
def test_of_channels_that_cancel_the_louder_is_taken(gain: float) -> None:
    both = np.stack([voice(), -gain * voice()], axis=1)
    louder = both[:, 1] if gain > 1 else both[:, 0]
    assert np.array_equal(np.abs(mixed(both)), np.abs(louder))


def test_noise_of_each_channel_s_own_between_the_words_changes_nothing() -> None:
    both = np.stack([voice(), -voice()], axis=1) + 0.001 * NOISE[: 4 * RATE]
    assert power(mixed(both) - both[:, 0]) < 0.01 * power(both[:, 0])


def test_it_begins_and_ends_within_a_recording_without_a_click() -> None:
    tones = tone(4)
    signs = np.repeat([1, -1, 1, -1], RATE).astype(np.float32)
    found = mixed(np.stack([tones, tones * signs], axis=1))
    for second in (1, 3):
        late = found[round((second + 0.5) * RATE) : (second + 1) * RATE]
        assert power(late) > 0.9 * power(tones)
    steps = np.abs(np.diff(found))
    assert steps.max() < 2 * np.abs(np.diff(tones)).max()


@pytest.mark.parametrize("size", [1, 77, 320, 5000])
def test_how_it_is_cut_changes_nothing(size: int) -> None:
    quiet = silence(0.3)
    sound = np.concatenate([quiet, voice(0.7), quiet, voice(0.5)])
    both = np.stack([sound, -0.9 * sound], axis=1) + 0.001 * NOISE[: len(sound)]
    assert np.array_equal(mixed(both, size), mixed(both))


def as_wav(sound: Samples, gains: tuple[float, float]) -> bytes:
    return wav(sound, gains=gains)


def as_m4a(sound: Samples, gains: tuple[float, float]) -> bytes:
    return coded(sound, "aac", "ipod", gains=gains)


def as_flac(sound: Samples, gains: tuple[float, float]) -> bytes:
    return coded(sound, "flac", "flac", gains=gains)


@pytest.mark.parametrize("write", [as_wav, as_m4a, as_flac])
@pytest.mark.parametrize("gains", [(1.0, 1.0), (1.0, -1.0), (0.5, -0.5)])
def test_files_of_two_channels(write: Callable[..., bytes], gains: tuple[float, float]) -> None:
    data = write(voice(), gains)
    found, _ = read(data, 10**9)
    assert 0.8 < power(found) / (gains[0] ** 2 * power(voice())) < 1.2
    pieces, _ = read(data, 1234)
    assert np.array_equal(pieces, found)


@needs_speech
@pytest.mark.parametrize("write", [as_wav, as_m4a])
def test_a_voice_is_heard_with_one_channel_upside_down(write: Callable[..., bytes]) -> None:
    (clip, _), *_ = clips()
    reader = FileReader(60)
    sound = np.concatenate([reader.feed(clip), reader.finish()])
    upright, inverted = (
        heard(write(sound, (1.0, sign)), size) for sign, size in [(1.0, 10**9), (-1.0, 10**9)]
    )
    assert upright
    assert len(inverted) == len(upright)
    for mine, theirs in zip(inverted, upright, strict=True):
        assert abs(mine[0] - theirs[0]) <= 1024
        assert abs(mine[1] - theirs[1]) <= 1024
    assert heard(write(sound, (1.0, -1.0)), 3200) == inverted


def heard(data: bytes, size: int) -> list[tuple[int, int, bytes]]:
    """Where each utterance of a file begins and ends, and its samples."""
    listener = Listener(SileroVoice(), Cutting(), 60)
    ended = []
    for at in range(0, len(data), size):
        ended += listener.feed(data[at : at + size])
    ended += listener.finish()
    return [(each.start, each.end, each.samples().tobytes()) for each in ended]
