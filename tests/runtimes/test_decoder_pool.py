"""Decoder processes: lent, killed, replaced, ended. They are real ones, of pocketsphinx."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import numpy as np
import pytest

from runtimes.speech.decoder_pool import DecoderPool
from runtimes.speech.decoder_process import DecoderProcess
from runtimes.speech.pocketsphinx_engine import PocketsphinxEngine
from runtimes.speech.recogniser import DecoderDiedError
from tests.audio.sounds import clips, needs_speech, pcm, silence

QUIET = pcm(silence(1))
# The longest word of pocketsphinx's time; a bound for a test that would hang, not a timing.
PATIENCE = 60


@pytest.fixture
async def engine() -> AsyncIterator[PocketsphinxEngine]:
    made = PocketsphinxEngine({}, workers=1, live=1)
    await made.load()
    yield made
    await made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def speech() -> np.ndarray:
    return np.frombuffer(clips()[1][0][44:], np.int16)


async def test_silence_has_no_words(engine: PocketsphinxEngine) -> None:
    for sound in (QUIET, QUIET[:0], QUIET[:1]):
        (found,) = await engine.recognise([sound])
        assert found.text == ""
        assert found.confidence is None


async def test_a_killed_process_is_an_error_and_is_replaced(engine: PocketsphinxEngine) -> None:
    pool = engine._pool
    process = await pool.lend()
    pool.take_back(process)
    asking = asyncio.create_task(engine.recognise([np.tile(QUIET, 20)]))
    while process._asked is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DecoderDiedError, match="died and another one takes its place") as caught:
        await asking
    assert caught.value.status_code == 503
    async with asyncio.timeout(PATIENCE):
        other = await pool.lend()
    assert other.pid != process.pid
    pool.take_back(other)
    assert (await engine.recognise([QUIET]))[0].text == ""


async def test_an_idle_process_that_was_killed_is_never_lent(engine: PocketsphinxEngine) -> None:
    pool = engine._pool
    (process,) = pool._idle
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process._process.wait)
    async with asyncio.timeout(PATIENCE):
        assert (await engine.recognise([QUIET]))[0].text == ""


async def test_an_utterance_under_way_has_a_process_of_its_own(engine: PocketsphinxEngine) -> None:
    running = engine.open()
    assert running is not None
    assert engine.open() is None  # the second one is only being started
    await running.feed(QUIET)
    assert (await engine.recognise([QUIET]))[0].text == ""
    running.close()


async def test_what_is_given_up_leaves_nothing_behind(engine: PocketsphinxEngine) -> None:
    running = engine.open()
    assert running is not None
    await running.feed(np.tile(QUIET, 2))
    feeding = asyncio.create_task(running.feed(np.tile(QUIET, 5)))
    await asyncio.sleep(0)
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    running.close()
    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(*(engine.recognise([QUIET]) for _ in range(4)))
    assert [each[0].text for each in found] == [""] * 4


async def test_processes_end_with_the_engine() -> None:
    made = PocketsphinxEngine({}, workers=1, live=1)
    await made.load()
    pids = [process.pid for process in made._pool._idle]
    await made.close()
    assert pids
    assert not any(map(alive, pids))


async def test_options_that_pocketsphinx_refuses() -> None:
    for options in ({"hmm": "/nowhere"}, {"no_such_option": 1}):
        with pytest.raises(ValueError, match="pocketsphinx does not start with the options"):
            await DecoderPool(options, 1).open()


async def test_a_process_that_ends_as_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimes.speech.decoder_process.sys.executable", "/bin/false")
    with pytest.raises(DecoderDiedError):
        await DecoderProcess.start({})


@needs_speech
async def test_the_same_words_every_time(engine: PocketsphinxEngine) -> None:
    sound = speech()
    (first,) = await engine.recognise([sound])
    assert first.text.startswith("he was not")
    assert first.words[0].text == "he"
    assert 0 < (first.confidence or 0) <= 1
    await engine.recognise([np.frombuffer(clips()[4][0][44:], np.int16)])
    running = engine.open()
    assert running is not None
    texts = [await running.feed(part) for part in np.array_split(sound, 7)]
    assert await running.finish() == first
    assert texts[-1].startswith("he was not")
    running.close()
    (again,) = await engine.recognise([sound])
    assert again == first
