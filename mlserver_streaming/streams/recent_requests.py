"""What is known of the requests that a connection gave to its models' common streams last."""

from __future__ import annotations

from typing import Any

from .common_stream import CommonStream

# A model may read ahead, and answers an earlier request late; this far back nobody looks.
KEPT = 256


class RecentRequest:
    """A request of a common stream.

    Attributes:
        common: the stream.
        number: which of its requests it is, from 1.
        form: how it is to be answered.
        is_cancelled: whether its caller wants no more of it.
    """

    __slots__ = ("common", "form", "is_cancelled", "number")

    def __init__(self, common: CommonStream, form: Any):
        self.common = common
        self.number = common.put
        self.form = form
        self.is_cancelled = False


class RecentRequests:
    """Such requests, by their ids."""

    def __init__(self) -> None:
        self._found: dict[str, RecentRequest] = {}

    def add(self, request_id: str, request: RecentRequest) -> None:
        # Behind all others, where there was one of this id.
        self._found.pop(request_id, None)
        self._found[request_id] = request
        if len(self._found) > KEPT:
            del self._found[next(iter(self._found))]

    def of(self, request_id: str | None) -> RecentRequest | None:
        return self._found.get(request_id or "")
