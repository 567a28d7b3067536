"""Any CTC acoustic model in ONNX as an engine: Jasper, QuartzNet, Citrinet and the like.

The model takes log-mel features [B, mels, T], and their lengths [B] where it has a second input; it
gives log-probabilities [B, T', labels and the blank].
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime

from mlserver_streaming.audio.ctc import CtcDecoder
from mlserver_streaming.audio.features import Features, LogMel
from mlserver_streaming.audio.samples import from_pcm

from .recogniser import Pcm, Recognition, Word

# A padded utterance may sound another way to a model at its end, so an utterance's padding depends
# on its own length alone, never on its neighbours': these steps up, a multiple of this many frames.
STEP, MULTIPLE, SHORTEST = 1.15, 16, 64
BATCH = 8
# New audio that is worth another look at an utterance under way, in samples.
LOOK = 4800


class CtcEngine:
    """Utterances of a similar length go through the model together."""

    batched = True
    silence_after: float | None = None

    def __init__(self, model: Path, features: LogMel, decoder: CtcDecoder, threads: int):
        """
        Args:
            model: the ONNX file.
            threads: cores that one run of it uses.
        """
        self._model = model
        self._features = features
        self._decoder = decoder
        self._threads = threads

    async def load(self) -> None:
        """
        Raises:
            ValueError: there is no such model, or it is not a CTC model.
        """
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="ctc")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        try:
            self._session = await asyncio.to_thread(
                onnxruntime.InferenceSession, str(self._model), options, ["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base but this
            raise ValueError(f"{self._model} cannot be loaded: {error}") from error
        inputs = self._session.get_inputs()
        wide = [tensor for tensor in inputs if len(tensor.shape) == 3]
        flat = [tensor for tensor in inputs if len(tensor.shape) == 1]
        if len(wide) != 1 or len(wide) + len(flat) != len(inputs) or len(flat) > 1:
            names = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in inputs)
            raise ValueError(f"{self._model} takes {names}, not features [B, mels, T] and lengths")
        self._wide, self._lengths = wide[0], flat[0] if flat else None
        mels, wanted = self._wide.shape[1], self._features.mels
        if isinstance(mels, int) and mels != wanted:
            raise ValueError(f"{self._model} takes {mels} mel bands; the settings say {wanted}")
        await self.recognise([np.zeros(8000, np.int16)])

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def recognise(self, utterances: Sequence[Pcm]) -> list[Recognition]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._recognise, list(utterances))

    def open(self) -> "HeardAgain":
        return HeardAgain(self)

    def _recognise(self, utterances: list[Pcm]) -> list[Recognition]:
        features = [self._features(from_pcm(utterance)) for utterance in utterances]
        alike: dict[int, list[int]] = {}
        for index, each in enumerate(features):
            alike.setdefault(padded_frames(each.shape[1]), []).append(index)
        found: dict[int, Recognition] = {}
        for frames, indices in alike.items():
            for at in range(0, len(indices), BATCH):
                batch = indices[at : at + BATCH]
                answers = self._run([features[index] for index in batch], frames)
                found.update(zip(batch, answers, strict=True))
        return [found[index] for index in range(len(utterances))]

    def _run(self, features: list[Features], frames: int) -> list[Recognition]:
        batch = np.zeros((len(features), self._features.mels, frames), np.float32)
        for index, each in enumerate(features):
            batch[index, :, : each.shape[1]] = each
        feed = {self._wide.name: batch}
        if self._lengths is not None:
            dtype = np.int32 if "int32" in self._lengths.type else np.int64
            feed[self._lengths.name] = np.array([each.shape[1] for each in features], dtype)
        log_probs = np.asarray(self._session.run(None, feed)[0])
        expected = len(self._decoder.labels) + 1
        if log_probs.ndim != 3 or log_probs.shape[2] != expected:
            raise ValueError(
                f"{self._model} gives {list(log_probs.shape)}, not [B, T, {expected}] for "
                f"{expected - 1} labels and the blank"
            )
        # Seconds of a frame of the model's output.
        step = self._features.hop * frames / log_probs.shape[1]
        answers = []
        for each, rows in zip(features, log_probs, strict=True):
            heard = -(-log_probs.shape[1] * each.shape[1] // frames)
            answers.append(_recognition(self._decoder, rows[:heard], step))
        return answers


class HeardAgain:
    """An utterance under way, for a model that has no memory: it hears all of it again."""

    def __init__(self, engine: CtcEngine):
        self._engine = engine
        self._parts: list[Pcm] = []
        self._text = ""
        self._new = 0

    async def feed(self, samples: Pcm, paused: bool = False) -> str:
        self._parts.append(samples)
        self._new += len(samples)
        if self._new >= LOOK:
            self._new = 0
            self._text = (await self.finish()).text
        return self._text

    async def finish(self) -> Recognition:
        self._parts = [np.concatenate(self._parts)] if self._parts else [np.zeros(1, np.int16)]
        return (await self._engine.recognise(self._parts))[0]

    def close(self) -> None:
        self._parts = []


def padded_frames(frames: int) -> int:
    """The length to which so many frames are padded."""
    size = SHORTEST
    while size < frames:
        size = -(-int(size * STEP) // MULTIPLE) * MULTIPLE
    return size


def _recognition(decoder: CtcDecoder, log_probs: Features, step: float) -> Recognition:
    words = tuple(
        Word(word.text, word.start * step, word.end * step, word.confidence)
        for word in decoder(log_probs)
    )
    confidence = float(np.mean([word.confidence for word in words])) if words else None
    return Recognition(" ".join(word.text for word in words), words, confidence)
