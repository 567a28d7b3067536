"""What a request says of the cache, with its parameters `cache` and `cache_replay`."""

from dataclasses import dataclass
from typing import Any

from mlserver.types import InferenceRequest

from ..errors import BadRequestError
from ..tensors.json_codec import CACHE

__all__ = ["CACHE", "ORDINARY", "Wishes", "take_wishes"]

REPLAY = "cache_replay"
SKIP, REFRESH, PACED = "skip", "refresh", "paced"
# How much of a wrong value is shown to its sender.
SHOWN_CHARACTERS = 30


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a request wants to be answered.

    Attributes:
        reads: from what is remembered, or from a run that is under way.
        stores: its answer is remembered.
        paced: a remembered answer comes at the pace that it had at first.
    """

    reads: bool = True
    stores: bool = True
    paced: bool = False


ORDINARY = Wishes()


def take_wishes(request: InferenceRequest) -> Wishes:
    """Take the wishes out of a request: the model does not see them.

    Raises:
        BadRequestError: a wish is none of those that there are.
    """
    given = request.parameters and request.parameters.model_extra
    if not given or (CACHE not in given and REPLAY not in given):
        return ORDINARY
    cache = _one_of(CACHE, given.pop(CACHE, None), (SKIP, REFRESH))
    replay = _one_of(REPLAY, given.pop(REPLAY, None), (PACED,))
    return Wishes(reads=cache is None, stores=cache != SKIP, paced=replay == PACED)


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str | None:
    if value is None or (isinstance(value, str) and value in known):
        return value
    allowed = " or ".join(f'"{each}"' for each in known)
    raise BadRequestError(
        f"Parameter '{name}' must be {allowed}, or left out, not {str(value)[:SHOWN_CHARACTERS]!r}."
    )
