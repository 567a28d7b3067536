"""Where one speaks: utterances cut out of a recording at its pauses, as its samples come.

A voice-activity detector (Silero's: https://github.com/snakers4/silero-vad) gives each window of
32 ms the probability of a voice. Windows are counted from the recording's beginning, so the cuts
do not depend on how the samples were sent.

    state      a window is                                       then
    silent     voiced, and so were the two before it             an utterance opens, with what was
                                                                 kept from before them
    speaking   silent, and a pause's worth was                   it closes
    speaking   any, and the utterance is as long as one may be   it closes; voiced windows open
                                                                 the next one
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .samples import Pcm

RATE = 16_000
WINDOW = 512  # samples; the detector takes no other number
# Silero's own: a voice begins above its threshold, and ends so much below it.
HYSTERESIS = 0.15
# Windows in a row that make a voice; fewer are clicks.
ONSET_WINDOWS = 3
# A pause in an utterance that grows too long, in seconds: cut it there rather than in a word.
SHORT_PAUSE = 0.2

Voice = Callable[[Pcm], float]


@dataclass(frozen=True, slots=True)
class Cutting:
    """How utterances are cut; times in seconds.

    Attributes:
        pause: silence that ends an utterance.
        before: sound kept from before the first voiced window: soft consonants.
        longest: an utterance is cut here at the latest; from half of it a short pause is enough.
        threshold: the probability of a voice, from which on there is one.
    """

    pause: float = 0.5
    before: float = 0.3
    longest: float = 20.0
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0.1 <= self.pause <= 5:
            raise ValueError(f"pause must be from 0.1 to 5 seconds, not {self.pause}")
        if not 0 <= self.before <= 1:
            raise ValueError(f"before must be from 0 to 1 second, not {self.before}")
        if not 2 <= self.longest <= 60:
            raise ValueError(f"longest must be from 2 to 60 seconds, not {self.longest}")
        if not 0.05 <= self.threshold <= 0.95:
            raise ValueError(f"threshold must be from 0.05 to 0.95, not {self.threshold}")


@dataclass(slots=True)
class Utterance:
    """Speech between two pauses.

    Attributes:
        index: utterances of the recording before it.
        offset: where its samples begin in the recording, in samples.
        start, end: where the voice begins and ends, in samples of the recording.
        parts: its samples, int16 at 16 kHz, with some silence on both sides.
    """

    index: int
    offset: int
    start: int
    end: int
    parts: list[Pcm] = field(default_factory=list)

    def samples(self, first: int = 0, after: float | None = None) -> Pcm:
        """Its samples from number `first` on.

        Args:
            after: how much of the silence after the voice there may be, in seconds; None is all.
        """
        if len(self.parts) > 1:
            self.parts = [np.concatenate(self.parts)]
        whole = self.parts[0] if self.parts else np.zeros(0, np.int16)
        return whole[first : None if after is None else self._last(after)]

    def paused(self, after: float | None) -> bool:
        """Whether the silence after the voice is longer than that by now."""
        return after is not None and sum(map(len, self.parts)) > self._last(after)

    def _last(self, after: float) -> int:
        return self.end - self.offset + round(after * RATE)


class Endpointer:
    """Feed it samples; it gives utterances that are over, and has the one under way in `open`."""

    def __init__(self, voice: Voice, cutting: Cutting):
        """
        Args:
            voice: the probability of a voice in 512 samples; keeps its own state.
        """
        self.open: Utterance | None = None
        self.heard = 0  # samples that windows were made of
        self._voice = voice
        self._pause = _windows(cutting.pause)
        self._short_pause = min(self._pause, _windows(SHORT_PAUSE))
        self._before = _windows(cutting.before)
        self._longest = int(cutting.longest * RATE)
        self._voiced_from = cutting.threshold
        self._voiced_until = max(cutting.threshold - HYSTERESIS, 0.01)
        self._rest = np.zeros(0, np.int16)
        self._kept: list[Pcm] = []  # the last windows before an utterance
        self._voiced = self._silent = self._count = 0

    def feed(self, samples: Pcm) -> list[Utterance]:
        """Take [n] samples; the utterances that ended in them."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) - len(samples) % WINDOW
        self._rest = samples[whole:]
        ended = (self._take(samples[at : at + WINDOW]) for at in range(0, whole, WINDOW))
        return [utterance for utterance in ended if utterance is not None]

    def finish(self) -> Utterance | None:
        """The utterance under way at the recording's end, if one is."""
        if self.open is not None and len(self._rest):
            self.open.parts.append(self._rest)
        return self._close()

    def _take(self, window: Pcm) -> Utterance | None:
        chance = self._voice(window)
        self.heard += WINDOW
        utterance = self.open
        if utterance is None:
            self._wait_for_voice(window, chance)
            return None
        utterance.parts.append(window)
        if chance >= self._voiced_from or (chance >= self._voiced_until and not self._silent):
            self._silent = 0
            utterance.end = self.heard
        else:
            self._silent += 1
        length = self.heard - utterance.offset
        pause = self._pause if length < self._longest / 2 else self._short_pause
        if self._silent >= pause or length >= self._longest:
            return self._close()
        return None

    def _wait_for_voice(self, window: Pcm, chance: float) -> None:
        self._voiced = self._voiced + 1 if chance >= self._voiced_from else 0
        self._kept.append(window)
        del self._kept[: -(self._before + ONSET_WINDOWS)]
        if self._voiced < ONSET_WINDOWS:
            return
        self.open = Utterance(
            self._count,
            offset=self.heard - len(self._kept) * WINDOW,
            start=self.heard - ONSET_WINDOWS * WINDOW,
            end=self.heard,
            parts=self._kept,
        )
        self._count += 1
        self._kept = []
        self._voiced = self._silent = 0

    def _close(self) -> Utterance | None:
        utterance, self.open = self.open, None
        return utterance


def _windows(seconds: float) -> int:
    return round(seconds * RATE / WINDOW)
