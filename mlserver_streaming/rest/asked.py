"""A request over HTTP as our own calls take it."""

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from .header_table import HeaderTable


class Asked(Request):
    """A request whose headers are in a table: they are looked up time and again."""

    @property
    def headers(self) -> Headers:
        return self.table  # type: ignore[return-value]

    def __init__(self, scope: Scope, receive: Receive):
        super().__init__(scope, receive)
        self.table = HeaderTable(scope)


class App:
    """A call that sends its answer itself, as an app; a route takes a method for something else."""

    def __init__(self, answer: Callable[[Request, Send], Awaitable[None]]):
        self._answer = answer

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # No coroutine of its own, in this and other apps that only pass a call on: a stream goes
        # through all of them again each time that it has waited.
        return self._answer(Asked(scope, receive), send)
