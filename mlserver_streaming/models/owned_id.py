"""The id of a sequence as models see it where callers have keys: nobody else's is ever the same."""

from __future__ import annotations

import json
from typing import Any

# Neither an identity nor a number holds it.
MARK = "/"


class OwnedId(str):
    """A text made of who calls and of the id that was sent; `7` and `"7"` stay two ids."""

    __slots__ = ()

    @classmethod
    def of(cls, owner: str, sent: Any) -> OwnedId:
        """
        Args:
            owner: the caller's identity, a text without MARK.
            sent: the id as it was sent.

        Raises:
            RecursionError: it is nested too deep to be anything.
        """
        return cls(f"{owner}{MARK}{json.dumps(sent, ensure_ascii=False, default=str)}")

    @property
    def sent(self) -> Any:
        """The id as it was sent."""
        text = self.partition(MARK)[2]
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text  # a model has cut it, say


def sent_id(id: Any) -> Any:
    """An id as its caller sent it, for answers that people read."""
    return id.sent if isinstance(id, OwnedId) else id
