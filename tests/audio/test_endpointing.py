"""Utterances are cut at pauses, however the samples come."""

import numpy as np
import pytest

from mlserver_streaming.audio.endpointing import WINDOW, Cutting, Endpointer, Utterance
from mlserver_streaming.audio.voice import SileroVoice
from tests.audio.sounds import RATE, clips, loud, needs_speech, pcm, silence, tone

QUIET, LOUD = silence(WINDOW / RATE), tone(WINDOW / RATE)


def cut(pattern: str, cutting: Cutting | None = None, size: int | None = None) -> list[Utterance]:
    """Utterances of a sound whose windows are silent (.) or loud (x)."""
    sound = pcm(np.concatenate([LOUD if each == "x" else QUIET for each in pattern]))
    endpointer = Endpointer(loud, cutting or Cutting(pause=0.32, before=0.064))
    size = size or len(sound)
    found = [u for at in range(0, len(sound), size) for u in endpointer.feed(sound[at : at + size])]
    last = endpointer.finish()
    return found + ([last] if last else [])


def spans(utterances: list[Utterance]) -> list[tuple[float, ...]]:
    return [
        (u.offset / WINDOW, u.start / WINDOW, u.end / WINDOW, len(u.samples()) / WINDOW)
        for u in utterances
    ]


def test_two_utterances() -> None:
    pattern = "." * 5 + "x" * 6 + "." * 12 + "x" * 4 + "." * 3
    found = cut(pattern)
    assert [u.index for u in found] == [0, 1]
    # offset, start, end, length; the second one is over because the recording is.
    assert spans(found) == [(3, 5, 11, 18), (21, 23, 27, 9)]


@pytest.mark.parametrize("size", [1, 100, 511, 513])
def test_how_the_samples_come_changes_nothing(size: int) -> None:
    pattern = "." * 5 + "x" * 6 + "." * 12 + "x" * 4 + "." * 3
    whole, pieces = cut(pattern), cut(pattern, size=size)
    assert spans(whole) == spans(pieces)
    for one, other in zip(whole, pieces, strict=True):
        assert np.array_equal(one.samples(), other.samples())


def test_clicks_and_silence_are_no_speech() -> None:
    assert cut("." * 2000) == []
    assert cut("..x....xx....x.x.x...") == []


def test_a_short_silence_is_no_pause() -> None:
    assert len(cut("x" * 5 + "." * 9 + "x" * 5)) == 1
    assert len(cut("x" * 5 + "." * 10 + "x" * 5)) == 2


def test_endless_speech_is_cut() -> None:
    cutting = Cutting(pause=0.5, longest=2)
    lengths = [len(u.samples()) / RATE for u in cut("x" * 200, cutting)]
    assert len(lengths) == 4
    assert all(length <= 2.032 for length in lengths)
    # Past half of the longest, a short pause is enough.
    assert len(cut("x" * 40 + "." * 7 + "x" * 10, cutting)) == 2
    assert len(cut("x" * 10 + "." * 7 + "x" * 10, cutting)) == 1


def test_an_utterance_under_way() -> None:
    endpointer = Endpointer(loud, Cutting())
    endpointer.feed(pcm(np.concatenate([silence(1), tone(1)])))
    assert endpointer.open is not None
    assert len(endpointer.open.samples(500)) == len(endpointer.open.samples()) - 500


@pytest.mark.parametrize("wrong", [{"pause": 0}, {"before": 2}, {"longest": 1}, {"threshold": 1}])
def test_settings_are_checked(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Cutting(**wrong)


@pytest.mark.parametrize(
    ("threshold", "chances", "is_voice"),
    [
        (0.5, [0.6, 0.6, 0.6], True),
        (0.7, [0.6, 0.6, 0.6], False),
        (0.3, [0.3, 0.4, 0.3], True),
    ],
)
def test_how_sure_a_voice_must_be(threshold: float, chances: list[float], is_voice: bool) -> None:
    heard = iter(chances)
    endpointer = Endpointer(lambda window: next(heard), Cutting(threshold=threshold))
    endpointer.feed(np.zeros(WINDOW * len(chances), np.int16))
    assert (endpointer.open is not None) == is_voice


def test_silero_hears_no_voice_in_silence_noise_or_tones() -> None:
    noise = np.random.default_rng(0).normal(scale=2000, size=RATE * 2).astype(np.int16)
    for sound in (pcm(silence(2)), noise, pcm(tone(2))):
        endpointer = Endpointer(SileroVoice(), Cutting())
        assert endpointer.feed(sound) == []
        assert endpointer.finish() is None


def test_an_utterance_without_the_silence_after_its_voice() -> None:
    endpointer = Endpointer(loud, Cutting())
    endpointer.feed(np.concatenate([pcm(silence(1)), pcm(tone(1)), pcm(silence(0.3))]))
    utterance = endpointer.open
    assert utterance is not None
    whole, voice = utterance.samples(), utterance.end - utterance.offset
    kept = utterance.samples(after=0.2)
    assert len(whole) > len(kept) == voice + 0.2 * RATE
    assert np.array_equal(utterance.samples(500, 0.2), kept[500:])
    assert len(utterance.samples(after=5)) == len(whole)
    assert [utterance.paused(after) for after in (None, 0.2, 0.5)] == [False, True, False]


@needs_speech
def test_silero_hears_speech() -> None:
    data, _ = clips()[1]
    sound = np.frombuffer(data[44:], np.int16)
    endpointer = Endpointer(SileroVoice(), Cutting())
    found = endpointer.feed(np.concatenate([sound, pcm(silence(1))]))
    assert len(found) == 1
    assert 0.1 < found[0].start / RATE < 0.4
    assert 2.6 < found[0].end / RATE < 3.0
