"""What of a transcript that still changes can be said for good. Pure."""

from __future__ import annotations

from itertools import takewhile


class StableText:
    """Partial transcripts of one utterance in, what they add out: deltas that nobody takes back.

    A partial may change up to its last word. What two in a row agree on, up to their last whole
    word, seldom does (local agreement: Liu, Spanakis and Niehues, Interspeech 2020). Where it does
    all the same, the final text is not what the deltas add up to: it alone counts.
    """

    def __init__(self) -> None:
        self._before = ""
        self._said = ""

    def partial(self, text: str) -> str:
        """What can be added; empty where there is nothing new, or what was said has changed."""
        both = zip(self._before, text, strict=False)
        agreed = text[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))]
        self._before = text
        return self._add(agreed[: agreed.rfind(" ")] if " " in agreed else "")

    def final(self, text: str) -> str:
        """The rest; empty where the end is another than was thought."""
        return self._add(text)

    def _add(self, text: str) -> str:
        if len(text) <= len(self._said) or not text.startswith(self._said):
            return ""
        added, self._said = text[len(self._said) :], text
        return added
