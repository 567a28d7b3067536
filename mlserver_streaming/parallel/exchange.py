"""What was asked of a worker and waits for its words: a stream, or the answer to one question."""

import asyncio
from typing import Any, Protocol

from ..errors import MLServerError
from .payloads import Packed


class Exchange(Protocol):
    """What waits for a worker's words."""

    def want(self) -> None:
        """The model asks for the next request."""

    def response(self, packed: Packed) -> None: ...

    def last(self, packed: Packed) -> None:
        """A response after which no other comes."""

    def done(self, result: Any) -> None: ...

    def failed(self, error: MLServerError) -> None: ...


class Answer:
    """One answer to one question."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def want(self) -> None:
        raise AssertionError("no stream")

    def response(self, packed: Packed) -> None:
        raise AssertionError("no stream")

    last = response

    def done(self, result: Any) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def failed(self, error: MLServerError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
