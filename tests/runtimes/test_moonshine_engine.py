"""The engine moonshine: how it shares its threads, and what it hears where its weights are."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.speech.audio_source import Clip
from clients.speech.report import SpeechReport
from mlserver_streaming.audio.endpointing import Cutting
from mlserver_streaming.audio.listening import Chunk, Listener, Samples
from mlserver_streaming.weights import find_weights
from runtimes.speech import moonshine_engine
from runtimes.speech.engines import make_engine
from runtimes.speech.hearing import Hearing
from runtimes.speech.moonshine import DECODER, ENCODER, most_tokens
from runtimes.speech.moonshine_engine import LONGEST_SECONDS, MoonshineEngine
from runtimes.speech.recording import Recording, Transcript
from runtimes.speech.vocabulary import Token, Vocabulary
from tests.audio.sounds import RATE, clips, loud, needs_speech, pcm, reading, silence, tone
from tests.runtimes.test_vocabulary import written

# A bound for a test that would hang, not a timing.
PATIENCE = 60
TWICE = np.concatenate([*([silence(0.5), tone(1.3), silence(0.7), tone(0.4), silence(0.4)] * 2)])


class Counting:
    """Hears how many samples there are; works when it is let.

    Attributes:
        heard: the lengths that it was asked for, with how many tokens were guessed.
        let: unset, it waits.
        astray: it says the same over and over instead.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []
        self.astray = False
        self.let = threading.Event()
        self.let.set()

    def hear(self, samples: Any, guess: Sequence[int] = ()) -> list[Token]:
        self.heard.append((len(samples), len(guess)))
        assert self.let.wait(PATIENCE)
        if self.astray:
            return [Token(0, -0.1)] * most_tokens(len(samples))
        return [Token(int(digit), -0.1) for digit in str(len(samples))]


@pytest.fixture
async def counting() -> AsyncIterator[MoonshineEngine]:
    """An engine that hears how many samples there are, as a word of digits."""
    engine = MoonshineEngine(Path(), workers=1, live=1)
    engine._vocabulary = Vocabulary(written([str(digit) for digit in range(10)]))
    engine._model = Counting()  # type: ignore[assignment]
    yield engine
    await engine.close()


@pytest.fixture
async def engine() -> AsyncIterator[MoonshineEngine]:
    reading(0)  # or skip
    made = make_engine("The test", lambda name, default: default, None)
    assert isinstance(made, MoonshineEngine)
    await made.load()
    yield made
    await made.close()


async def in_chunks(
    engine: MoonshineEngine, sound: Any, size: int, **voice: Any
) -> list[Transcript]:
    """What a recording says that comes in chunks of so many samples."""
    hearing = Hearing(engine, Cutting(), 600, **voice)
    recording = hearing.begin()
    found = []
    for at in range(0, len(sound), size):
        async for transcript in recording.hear(Samples(sound[at : at + size], RATE)):
            found.append(transcript)
    async for transcript in recording.hear(None, last=True):
        found.append(transcript)
    return found


def finals(transcripts: Sequence[Transcript]) -> list[str]:
    return [each.text for each in transcripts if each.final]


@pytest.mark.parametrize("size", [160, 1600, 7777, 48_000, 10**6])
async def test_finals_are_of_the_same_samples_however_they_came(
    counting: MoonshineEngine, size: int
) -> None:
    hearing = Hearing(counting, Cutting(), 600, voice=lambda: loud)
    (whole,) = await hearing.whole([Samples(TWICE, RATE)])
    assert len(whole) == 4
    assert finals(await in_chunks(counting, TWICE, size, voice=lambda: loud)) == finals(whole)


async def test_looks_begin_with_what_was_heard_before_and_finals_with_nothing(
    counting: MoonshineEngine,
) -> None:
    heard = await in_chunks(counting, TWICE, 800, voice=lambda: loud)
    model: Any = counting._model
    assert len(heard) > len(finals(heard)) == 4
    assert max(guessed for _, guessed in model.heard) > 1
    for text in finals(heard):
        assert (int(text), 0) in model.heard


async def test_the_words_are_sought_while_the_pause_is_waited_out(
    counting: MoonshineEngine,
) -> None:
    model: Any = counting._model
    sound = np.concatenate([silence(0.5), tone(1), silence(0.35)])
    with ThreadPoolExecutor(1) as threads:
        recording = Recording(Listener(loud, Cutting(), 600), counting, threads)

        async def hear(chunk: Chunk | None, last: bool = False) -> list[Transcript]:
            return [each async for each in recording.hear(chunk, last)]

        assert not finals(await hear(Samples(sound, RATE)))
        async with asyncio.timeout(PATIENCE):
            while not model.heard:  # noqa: ASYNC110
                await asyncio.sleep(0)
        before = list(model.heard)
        assert len(before) == 1
        (text,) = finals(await hear(Samples(silence(0.3), RATE), last=True))
        assert model.heard == before == [(int(text), 0)]


async def test_a_voice_that_goes_on_is_heard_to_its_end(counting: MoonshineEngine) -> None:
    running = counting.open()
    for paused in (False, True, False, True, True):
        await running.feed(pcm(tone(0.2)), paused)
    assert (await running.finish()).text == "16000"
    running.close()


async def test_a_look_that_finds_no_thread_is_left_out_and_finals_are_not(
    counting: MoonshineEngine,
) -> None:
    model: Any = counting._model
    model.let.clear()
    first, second = counting.open(), counting.open()
    looking = asyncio.create_task(first.feed(pcm(tone(1))))
    async with asyncio.timeout(PATIENCE):
        while not model.heard:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert await second.feed(pcm(tone(2))) == ""
        ending = asyncio.create_task(second.finish())
        while len(model.heard) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        model.let.set()
        assert (await ending).text == "32000"
        assert await looking == "16000"
        assert await second.feed(pcm(tone(0.1))) == "33600"


async def test_a_look_that_goes_astray_is_not_shown(counting: MoonshineEngine) -> None:
    model: Any = counting._model
    running = counting.open()
    assert await running.feed(pcm(tone(1))) == "16000"
    model.astray = True
    assert await running.feed(pcm(tone(1))) == "16000"
    model.astray = False
    assert await running.feed(pcm(tone(1))) == "48000"


def test_utterances_that_it_would_lose_words_of_are_refused_by_the_settings() -> None:
    given = {"longest_utterance_seconds": LONGEST_SECONDS + 1}
    with pytest.raises(ValueError, match=r"of 30 seconds at most; .* is 31"):
        make_engine("M", lambda name, default: given.get(name, default), None)


def test_both_files_are_loaded_at_once_and_before_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=PATIENCE)

    def session(file: Path) -> str:
        both.wait()
        return file.name

    monkeypatch.setattr(moonshine_engine, "make_session", session)
    engine = MoonshineEngine(Path(), workers=2, live=1)  # load() is not called yet
    assert {session.result(PATIENCE) for session in engine._sessions} == {DECODER, ENCODER}


async def test_a_folder_without_the_files(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="Moonshine's files cannot be loaded"):
        await MoonshineEngine(tmp_path, None, None).load()


BEST = "It was the best of times, it was the worst of times."


def heard(text: str) -> str:
    """The words alone: one processor's sums make a comma where another's make a full stop."""
    return " ".join(re.findall(r"\w+", text.lower()))


async def test_a_reading_whole_and_in_chunks_and_beside_another(engine: MoonshineEngine) -> None:
    sound = reading(9.8)
    (whole,) = await Hearing(engine, Cutting(), 600).whole([Samples(sound, RATE)])
    assert len(whole) == 2
    assert heard(whole[0].text).startswith(heard(BEST))
    words = whole[0].words
    assert " ".join(word.text for word in words) == whole[0].text
    assert all(0 < (word.confidence or 0) <= 1 for word in words)
    assert {(word.start, word.end) for word in words} == {(None, None)}
    one, _ = await asyncio.gather(
        in_chunks(engine, sound, 1600), in_chunks(engine, sound[::-1].copy(), 3001)
    )
    assert finals(one) == finals(whole)
    assert any(BEST.startswith(each.text[:20]) for each in one if not each.final)
    assert finals(await in_chunks(engine, sound, 12_345)) == finals(whole)


async def test_long_utterances_keep_their_words(engine: MoonshineEngine) -> None:
    # More than the 9.3 s at which a mask of the encoder's length fails.
    (found,) = await engine.recognise([pcm(reading(LONGEST_SECONDS))])
    assert heard(found.text).startswith(heard(BEST))
    assert "direct to heaven" in found.text


async def test_next_to_nothing_has_no_words(engine: MoonshineEngine) -> None:
    for sound in (pcm(silence(0)), pcm(tone(0.01)), pcm(tone(0.05))):
        (found,) = await engine.recognise([sound])
        assert (found.text, found.words, found.confidence) == ("", (), None)


@needs_speech
async def test_the_words_that_it_gets_wrong(engine: MoonshineEngine) -> None:
    said = clips()
    rows = await Hearing(engine, Cutting(), 600).whole([data for data, _ in said])
    report = SpeechReport("")
    for index, row in enumerate(rows):
        for transcript in row:
            report.add(index, transcript.text)
    rate = report.word_error_rate([Clip("", b"", 1.0, text) for _, text in said])
    assert rate is not None
    assert rate <= 0.04


def test_the_weights_are_where_the_engine_looks() -> None:
    reading(0)
    folder = find_weights("The test", "moonshine-voice", "assets/tiny-en")
    assert {path.name for path in folder.iterdir()} == {
        "encoder_model.ort",
        "decoder_model_merged.ort",
        "tokenizer.bin",
    }
