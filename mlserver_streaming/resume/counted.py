"""A stream's requests, counted as they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from mlserver.types import InferenceRequest
from mlserver.utils import generate_uuid

from ..models.messages import set_id


class Counted:
    """A stream's requests, counted.

    Attributes:
        first: the first of them, once it is read.
    """

    def __init__(self, requests: AsyncIterator[InferenceRequest]) -> None:
        self._requests = requests
        self._count = 0
        self._ended = False
        self.first: InferenceRequest | None = None

    def __aiter__(self) -> Counted:
        return self

    async def __anext__(self) -> InferenceRequest:
        try:
            request = await anext(self._requests)
        except StopAsyncIteration:
            self._ended = True
            raise
        self._count += 1
        if self._count == 1:
            set_request_id(request)
            self.first = request
        return request

    @property
    def was_sole(self) -> bool:
        """Whether there was one, and there are no more."""
        ended = self._ended or getattr(self._requests, "has_ended", False)
        return self._count == 1 and ended


def set_request_id(request: InferenceRequest) -> None:
    """Have a request an id: it is the same where it is asked again."""
    if not request.id:
        set_id(request, generate_uuid())
