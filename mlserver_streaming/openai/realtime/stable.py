"""What of a transcript that still changes can be said for good. Pure."""

from __future__ import annotations

from itertools import takewhile


class StableText:
    """Partial transcripts of one utterance in, what they add out: deltas that nobody takes back.

    A partial may change, its last words above all. What two in a row agree on, up to the last word,
    seldom does (local agreement: Liu, Spanakis and Niehues, Interspeech 2020). Stops and capitals
    do: they are as they were when their word was said. Where a word has changed all the same,
    nothing is added any more. The final text alone counts.
    """

    def __init__(self) -> None:
        self._before: list[str] = []
        self._said: list[str] = []

    def partial(self, text: str) -> str:
        """What can be added; empty where there is nothing new, or a word that was said is none."""
        words = text.split()
        agreed = _agreed(self._before, words[:-1])
        self._before = words
        return self._add(words[:agreed])

    def final(self, text: str) -> str:
        """The rest; empty where a word that was said is not in it."""
        return self._add(text.split())

    def _add(self, words: list[str]) -> str:
        said = len(self._said)
        if len(words) <= said or _agreed(self._said, words) < said:
            return ""
        self._said = words
        return " " * bool(said) + " ".join(words[said:])


def _agreed(some: list[str], others: list[str]) -> int:
    """How many words they begin with that are the same but for stops and capitals."""
    both = zip(some, others, strict=False)
    return sum(1 for _ in takewhile(lambda pair: _bare(pair[0]) == _bare(pair[1]), both))


def _bare(word: str) -> str:
    return "".join(filter(str.isalnum, word)).casefold()
