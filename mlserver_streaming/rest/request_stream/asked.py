"""One request as it stands in a body that holds many, and what cuts a body into them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import TooLargeError


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's bytes.

    Attributes:
        body: JSON, or the one element of a BYTES tensor.
        is_json: which of the two.
        fields: request parameters that came before it, and `id`.
    """

    body: bytes
    is_json: bool = True
    fields: Mapping[str, Any] = field(default_factory=dict)


class Splitter(Protocol):
    """Cuts a body that comes in any pieces.

    Attributes:
        limit: bytes of a request.
    """

    limit: int

    @property
    def held(self) -> int:
        """Bytes of a request that is not whole, and of what is kept for all that come."""

    def feed(self, data: bytes) -> Iterator[Asked]:
        """The requests that `data` completes.

        Raises:
            BadRequestError: the body cannot be cut.
            TooLargeError: a request is longer than one may be.
        """

    def clear(self) -> None:
        """Nobody wants what has come of a request."""

    def end(self) -> Iterator[Asked]:
        """The body is here; what was left open.

        Raises:
            BadRequestError: it ends amid a request.
        """


def check_size(size: int, limit: int, what: str) -> None:
    """
    Raises:
        TooLargeError: a request is longer than one may be.
    """
    if size > limit:
        raise TooLargeError(f"A {what} is larger than {limit} bytes; send less at once.")
