"""`x-sequence-id`: the sequence of a call, said where a balancer looks.

A header of HTTP, or metadata of gRPC. It takes a sequence to the replica that knows it; what the
model meets is the request's own `sequence_id`, so the two must be the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from mlserver.types import InferenceRequest

from ..errors import BadRequestError, shown
from ..models.parameters import parameter
from .ownership import SEQUENCE_ID

SEQUENCE_HEADER = "x-sequence-id"
# The longest id, 128 characters of four bytes, each percent-encoded.
MAX_HEADER_CHARACTERS = 128 * 4 * 3


def sequence_said(headers: Mapping[str, Any]) -> str | None:
    """A call's header; None where it has none.

    Args:
        headers: of HTTP, or of gRPC as `all_said` made them.
    """
    said: str | None = headers.get(SEQUENCE_HEADER)
    if said is None or not hasattr(headers, "getlist"):
        return said
    return all_said(headers.getlist(SEQUENCE_HEADER))


def all_said(values: Iterable[str]) -> str:
    """The values of a header that is there several times, as one: a list, as HTTP has it. Two
    sequences are no request's: else the one looked at could be another than the balancer's."""
    return ", ".join(dict.fromkeys(values))


def check_sequence(request: InferenceRequest, said: str) -> None:
    """A call's header against one of its requests; a request without a sequence goes with any.

    Args:
        said: the header: the id as text, percent-encoded (UTF-8) where it must be.

    Raises:
        BadRequestError: they name two sequences.
    """
    named = parameter(request, SEQUENCE_ID)
    # 0 and "" are no sequence, and what is no id is refused as such.
    if not named or isinstance(named, bool) or not isinstance(named, int | str):
        return
    if str(named) not in (said, unquote(said)):
        raise BadRequestError(
            f"'{SEQUENCE_HEADER}' names sequence '{shown(said)}', the request's '{SEQUENCE_ID}' "
            f"sequence '{shown(str(named))}'; they must be the same."
        )


def is_returnable(said: str) -> bool:
    """Whether a call's header is given back with its answer: it may be one, and is not too long."""
    return 0 < len(said) <= MAX_HEADER_CHARACTERS and said.isascii() and said.isprintable()
