"""Another API over HTTP beside V2's: routes under a prefix of its own, and its own form of errors.

The server, its door and its errors ask here whose a request is; they know none by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Scope

from ..resume.position import Position
from ..resume.run import Run


class Dialect(Protocol):
    """What the server needs of it.

    Attributes:
        prefix: before all its paths; without a slash at the end.
    """

    prefix: str

    def routes(self) -> Sequence[BaseRoute]:
        """Its calls. Each sees to it that its caller may use the model that it names."""

    def error(
        self, status: int, message: str, headers: Mapping[str, str], error: Exception | None
    ) -> Response:
        """An error in its form.

        Args:
            error: what was raised, which may know more than the message says.
        """

    def has_begun(self, form: Mapping[str, Any]) -> bool:
        """Whether the stream with this form in its head began at one of its calls."""

    async def read(
        self, request: Request, run: Run, position: Position, is_again: bool
    ) -> Response:
        """The answer to who reads such a stream, with events of its own.

        Args:
            is_again: whether the reader has read it before; else it begins at the first event.

        Raises:
            MLServerError: there is nothing to read.
        """

    def described(self, document: dict[str, Any]) -> dict[str, Any]:
        """The OpenAPI document of the service, with its calls in it."""


def dialect_of(scope: Scope) -> Dialect | None:
    """Whose prefix a request's path has; None where it is V2's, or nobody's."""
    if "app" not in scope:  # it comes the short way, which is V2's
        return None
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    dialects: tuple[Dialect, ...] = getattr(scope["app"].state, "dialects", ())
    for dialect in dialects:
        if path == dialect.prefix or path.startswith(dialect.prefix + "/"):
            return dialect
    return None
