"""The tokens of a recogniser that writes text, and the words that they make. Pure.

The file (Moonshine's tokenizer.bin): each token is its length and its bytes. A length below 128 is
one byte; a longer one is two, the low seven bits of the first and the second times 128.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .recogniser import Word

START, END = 1, 2
SPACE = "\u2581".encode()  # begins a word
# The unknown one, the beginning, the end; and those that stand for no text.
CONTROL = re.compile(rb"<unk>|</?s>|<<ST_\d+>>")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was chosen, and the logarithm of its probability."""

    id: int
    chance: float


class Vocabulary:
    """All tokens of a recogniser."""

    def __init__(self, file: bytes):
        """
        Args:
            file: the file's bytes.

        Raises:
            ValueError: it breaks off.
        """
        self._pieces: list[bytes] = []
        at = 0
        while at < len(file):
            length, at = file[at], at + 1
            if length >= 128 and at < len(file):
                length, at = length - 128 + 128 * file[at], at + 1
            piece = file[at : at + length]
            if len(piece) != length:
                raise ValueError("the tokenizer's file breaks off")
            self._pieces.append(b"" if CONTROL.fullmatch(piece) else piece)
            at += length

    def __len__(self) -> int:
        return len(self._pieces)

    def words(self, tokens: Sequence[Token]) -> tuple[Word, ...]:
        """The words as they are written, with their punctuation; joined with blanks they are the
        text. A word's confidence is the geometric mean of its tokens' probabilities."""
        found: list[tuple[bytes, list[float]]] = [(b"", [])]
        for token in tokens:
            rest, *begun = self._pieces[token.id].split(SPACE)
            if rest:
                text, logs = found[-1]
                found[-1] = (text + rest, [*logs, token.chance])
            found += [(part, [token.chance]) for part in begun]
        return tuple(
            Word(text.decode(errors="replace"), confidence=math.exp(math.fsum(logs) / len(logs)))
            for text, logs in found
            if text.strip()
        )
