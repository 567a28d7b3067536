"""Moonshine as an engine: the embedded default. Its weights lie in the package `moonshine-voice`.

It hears one utterance at a time on one core: beside others in a batch it would hear other words.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

import numpy as np

from mlserver_streaming.audio.samples import from_pcm

from .decoder_process import cores
from .moonshine import DECODER, ENCODER, RATE, Moonshine, make_session, most_tokens
from .recogniser import Pcm, Recognition
from .vocabulary import Token, Vocabulary

# New sound that is worth another look at an utterance under way, in seconds; and in times of what
# the last look took, so that looks take half a core at most.
LOOK_SECONDS, LOOK_TIMES = 0.3, 2.0
# Longer utterances lose words (tried: 40 s does not, 60 s does).
LONGEST_SECONDS = 30.0


class MoonshineEngine:
    """Utterances side by side, each in a thread.

    At most `workers` finished utterances are recognised at once, so that `live` threads are left
    for utterances that are being spoken.
    """

    batched = False
    # Less than the pause that ends an utterance: what comes of it is known when the pause is over.
    silence_after: float | None = 0.2

    def __init__(self, folder: Path, workers: int | None, live: int | None):
        """
        Args:
            folder: where its three files lie.
            workers: finished utterances at once (one a core).
            live: threads besides, for utterances under way (as many).
        """
        self._folder = folder
        self._finals = ThreadPoolExecutor(workers or cores(), thread_name_prefix="finals")
        self._live = live or cores()
        self._looks = ThreadPoolExecutor(self._live, thread_name_prefix="looks")
        self._looking = 0
        # Not in `load`: they are made side by side while the rest of what hears is imported, and
        # are past all that needs the GIL before llama.cpp's load keeps it.
        files = (folder / DECODER, folder / ENCODER)
        self._sessions = [self._finals.submit(make_session, file) for file in files]

    async def load(self) -> None:
        """
        Raises:
            ValueError: the files cannot be loaded.
        """
        self._vocabulary = Vocabulary((self._folder / "tokenizer.bin").read_bytes())
        decoder, encoder = await asyncio.gather(*map(asyncio.wrap_future, self._sessions))
        self._model = Moonshine(encoder, decoder)

    async def close(self) -> None:
        for threads in (self._finals, self._looks):
            threads.shutdown(wait=False, cancel_futures=True)

    async def recognise(self, utterances: Sequence[Pcm]) -> list[Recognition]:
        loop = asyncio.get_running_loop()
        tokens = await asyncio.gather(
            *(loop.run_in_executor(self._finals, self._hear, each, ()) for each in utterances)
        )
        return [self.recognition(each) for each in tokens]

    def open(self) -> "UnderWay":
        return UnderWay(self)

    async def look(self, samples: Pcm, guess: Sequence[int]) -> list[Token] | None:
        """What is said in an utterance so far; None where all threads for that are taken."""
        if self._looking >= self._live:
            return None
        self._looking += 1
        work = asyncio.get_running_loop().run_in_executor(self._looks, self._hear, samples, guess)
        work.add_done_callback(self._looked)
        return await work

    def recognition(self, tokens: Sequence[Token]) -> Recognition:
        """What the tokens say."""
        words = self._vocabulary.words(tokens)
        confidence = fmean(word.confidence or 0.0 for word in words) if words else None
        return Recognition(" ".join(word.text for word in words), words, confidence)

    def _hear(self, samples: Pcm, guess: Sequence[int]) -> list[Token]:
        return self._model.hear(from_pcm(samples), guess)

    def _looked(self, work: "asyncio.Future[list[Token]]") -> None:
        self._looking -= 1


class UnderWay:
    """An utterance that is heard again from its beginning as it grows.

    A look begins with the tokens of the one before, most of which stay. The words of the whole are
    those of the whole alone, and are sought as soon as the voice pauses.
    """

    def __init__(self, engine: MoonshineEngine):
        self._engine = engine
        self._parts: list[Pcm] = []
        self._new = 0
        self._enough = round(LOOK_SECONDS * RATE)
        self._guess: list[int] = []
        self._text = ""
        self._whole: asyncio.Task[list[Recognition]] | None = None

    async def feed(self, samples: Pcm, paused: bool = False) -> str:
        if len(samples):
            self._parts.append(samples)
            self._new += len(samples)
            self._forget()
        if paused and self._whole is None:
            self._whole = asyncio.create_task(self._engine.recognise([self._heard()]))
        elif not paused and self._new >= self._enough:
            await self._look()
        return self._text

    async def finish(self) -> Recognition:
        (found,) = await (self._whole or self._engine.recognise([self._heard()]))
        return found

    def close(self) -> None:
        self._forget()
        self._parts = []

    async def _look(self) -> None:
        began = time.perf_counter()
        samples = self._heard()
        tokens = await self._engine.look(samples, self._guess)
        if tokens is None:
            return
        took = time.perf_counter() - began
        self._new, self._enough = 0, round(max(LOOK_SECONDS, LOOK_TIMES * took) * RATE)
        # A voice that is cut off in a word may make it say the same over and over.
        if len(tokens) >= most_tokens(len(samples)):
            return
        self._guess = [token.id for token in tokens]
        self._text = self._engine.recognition(tokens).text

    def _heard(self) -> Pcm:
        self._parts = [np.concatenate(self._parts)] if self._parts else [np.zeros(0, np.int16)]
        return self._parts[0]

    def _forget(self) -> None:
        if self._whole is not None:
            self._whole.cancel()
        self._whole = None
