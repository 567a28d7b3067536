"""One recording from what was sent to its utterances: decode, resample, cut. All blocking."""

from dataclasses import dataclass

import numpy as np

from .decoding import FileReader
from .endpointing import RATE, Cutting, Endpointer, Utterance, Voice
from .errors import AudioError, TooLongError
from .resampling import Resampler
from .samples import Floats, to_pcm


@dataclass(frozen=True, slots=True)
class Samples:
    """A chunk of samples: float32 [n], mono, at `rate` Hz."""

    data: Floats
    rate: int


Chunk = bytes | Samples
# Bytes of a file that are gathered before they are worth a reader's turn: a millisecond's work,
# so that a recording that is sent byte by byte costs a few hundred turns and not a million.
GATHERED_BYTES = 256


class Listener:
    """Feed it a recording's chunks, all bytes of a file or all samples of one rate."""

    def __init__(self, voice: Voice, cutting: Cutting, max_seconds: float):
        """
        Args:
            voice: a voice-activity detector of this recording's own.
            max_seconds: a chunk that holds more audio is refused.
        """
        self._endpointer = Endpointer(voice, cutting)
        self._max_seconds = max_seconds
        self._file: FileReader | None = None
        self._resampler: Resampler | None = None
        self._rate = 0
        self._bytes = bytearray()
        self._samples = 0

    @property
    def open(self) -> Utterance | None:
        """The utterance under way."""
        return self._endpointer.open

    @property
    def seconds(self) -> float:
        """How much has been heard."""
        return self._endpointer.heard / RATE

    def gather(self, chunk: Chunk) -> bool:
        """Keep a small piece of a file for later; False where the chunk needs `feed` now."""
        if isinstance(chunk, Samples) or self._rate:
            return False
        if len(self._bytes) + len(chunk) >= GATHERED_BYTES:
            return False
        self._bytes += chunk
        return True

    def feed(self, chunk: Chunk) -> list[Utterance]:
        """The utterances that are over by now.

        Raises:
            AudioError: the chunk is not audio, or does not go on from the chunks before it.
            TooLongError: it holds more audio than is taken at once.
        """
        if isinstance(chunk, Samples):
            if self._file is not None or self._bytes:
                raise AudioError("it began as a file's bytes and cannot go on as samples")
            if len(chunk.data) > self._max_seconds * chunk.rate:
                raise TooLongError(f"it holds more than {self._max_seconds:g} s of audio")
            if self._rate and self._rate != chunk.rate:
                raise AudioError(f"its sample rate was {self._rate} and cannot become {chunk.rate}")
            self._rate = chunk.rate
            return self._hear(chunk.data, chunk.rate)
        if self._rate:
            raise AudioError("it began as samples and cannot go on as a file's bytes")
        self._file = self._file or FileReader(self._max_seconds)
        data = bytes(self._bytes) + chunk if self._bytes else chunk
        self._bytes.clear()
        return self._hear(self._file.feed(data), self._file.rate)

    def finish(self) -> list[Utterance]:
        """The recording is over: its last utterances.

        Raises:
            AudioError: there was no audio in it at all, or its file is damaged.
        """
        ended: list[Utterance] = []
        if self._bytes:
            ended += self.feed(b"")
        if self._file is not None:
            rest = self._file.finish()
            ended += self._hear(rest, self._file.rate)
        if not self._samples:
            raise AudioError("it has no samples")
        if self._resampler is not None:
            ended += self._endpointer.feed(to_pcm(self._resampler.finish()))
        last = self._endpointer.finish()
        return [*ended, last] if last is not None else ended

    def close(self) -> None:
        """Give it up."""
        if self._file is not None:
            self._file.close()

    def _hear(self, samples: Floats, rate: int) -> list[Utterance]:
        if not len(samples):
            return []
        self._samples += len(samples)
        self._resampler = self._resampler or Resampler(rate, RATE)
        found: list[Utterance] = []
        # Blocks of a second: a soundtrack of ten minutes is never there thrice at full size.
        for block in np.array_split(samples, max(1, len(samples) // rate)):
            found += self._endpointer.feed(to_pcm(self._resampler.feed(block)))
        return found
