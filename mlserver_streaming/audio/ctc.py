"""Log-probabilities of a CTC model to words: greedy, or by a beam (fast-ctc-decode).

CTC: https://www.cs.toronto.edu/~graves/icml_2006.pdf. In each frame the model says one label or
"blank"; repeats count once unless a blank stands between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import fast_ctc_decode
import numpy as np
from numpy.typing import NDArray

LogProbs = NDArray[np.float32]
# SentencePiece marks the beginning of a word with it.
WORD_MARK = "\u2581"
# Labels less likely than this in a frame are not followed by the beam.
BEAM_CUT = 1e-4


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word, from frame `start` to `end` (not in it); `confidence` 0 to 1."""

    text: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class CtcDecoder:
    """What a model's labels mean.

    Attributes:
        labels: the text of each label; the blank is not among them.
        blank: its place among the model's outputs.
        beam: hypotheses that are kept; 1 is greedy.
    """

    labels: tuple[str, ...]
    blank: int
    beam: int = 1

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("there are no labels")
        if not 0 <= self.blank <= len(self.labels):
            raise ValueError(f"blank must be from 0 to {len(self.labels)}, not {self.blank}")
        if not 1 <= self.beam <= 1024:
            raise ValueError(f"beam must be from 1 to 1024, not {self.beam}")

    def __call__(self, log_probs: LogProbs) -> list[SpokenWord]:
        """The words in [frames, labels and the blank]."""
        if not len(log_probs):
            return []
        probs = np.exp(log_probs - log_probs.max(axis=1, keepdims=True), dtype=np.float32)
        probs /= probs.sum(axis=1, keepdims=True)
        # The blank first, as the beam search has it.
        probs = np.concatenate(
            [probs[:, self.blank, None], np.delete(probs, self.blank, axis=1)], axis=1
        )
        said = self._greedy(probs) if self.beam == 1 else self._search(probs)
        return _words([(self.labels[index - 1], at, float(probs[at, index])) for index, at in said])

    def _greedy(self, probs: LogProbs) -> list[tuple[int, int]]:
        best = probs.argmax(axis=1)
        changed = np.concatenate([[True], best[1:] != best[:-1]])
        return [(int(best[at]), int(at)) for at in np.flatnonzero(changed & (best != 0))]

    def _search(self, probs: LogProbs) -> list[tuple[int, int]]:
        # Characters for labels: the library joins what it found, and labels may be of any length.
        alphabet = ["", *(chr(index + 1) for index in range(len(self.labels)))]
        cut = min(BEAM_CUT, 0.5 / len(alphabet))
        text, _ = fast_ctc_decode.beam_search(np.ascontiguousarray(probs), alphabet, self.beam, cut)
        said = [ord(label) for label in text]
        return list(zip(said, align(probs, said), strict=True))


def align(probs: LogProbs, said: Sequence[int]) -> list[int]:
    """The frame in which each label is said first, on the likeliest way to say them all.

    Args:
        probs: [frames, the blank and the labels].
        said: the labels' places in it, at most as many as there are frames.
    """
    if not said:
        return []
    # Blanks around and between the labels; a way goes on, or one further, or over a blank.
    states = np.zeros(2 * len(said) + 1, np.int64)
    states[1::2] = said
    over = np.concatenate([[False, False], (states[2:] != 0) & (states[2:] != states[:-2])])
    logs = np.log(np.maximum(probs, 1e-30))[:, states]
    score = np.full(len(states), -np.inf)
    score[:2] = logs[0, :2]
    steps = np.zeros((len(logs), len(states)), np.int8)
    for frame in range(1, len(logs)):
        one = np.concatenate([[-np.inf], score[:-1]])
        two = np.where(over, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        ways = np.stack([score, one, two])
        steps[frame] = ways.argmax(axis=0)
        score = ways.max(axis=0) + logs[frame]
    state = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    first = [0] * len(said)
    for frame in range(len(logs) - 1, -1, -1):
        if state % 2:
            first[state // 2] = frame
        state -= int(steps[frame, state])
    return first


def read_labels(text: str) -> tuple[str, ...]:
    """A labels file: one a line; a line with one space, or an empty line, is the space."""
    lines = text.removesuffix("\n").split("\n")
    return tuple(line.rstrip("\r") or " " for line in lines)


def _words(said: Sequence[tuple[str, int, float]]) -> list[SpokenWord]:
    """Labels with their frames and chances, joined into words."""
    words: list[list[tuple[str, int, float]]] = [[]]
    for label, at, chance in said:
        text = label.replace(WORD_MARK, " ")
        pieces = text.split(" ")
        for number, piece in enumerate(pieces):
            if number:
                words.append([])
            if piece:
                words[-1].append((piece, at, chance))
    return [
        SpokenWord(
            "".join(piece for piece, _, _ in word),
            word[0][1],
            word[-1][1] + 1,
            float(np.mean([chance for _, _, chance in word])),
        )
        for word in words
        if word
    ]
