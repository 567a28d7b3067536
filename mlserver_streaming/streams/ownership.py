"""Whose a sequence is. Ids are the callers' own choice, and two may choose the same: where callers
are known, a request's id and its caller are one id from here on, in models, workers, the cache and
upstreams. What a model says of a sequence comes back under the id that its caller sent.
"""

from __future__ import annotations

from mlserver.types import InferenceRequest, InferenceResponse

from ..errors import BadRequestError
from ..models.owned_id import MARK, OwnedId

SEQUENCE_ID = "sequence_id"


def claim(request: InferenceRequest, owner: str) -> None:
    """Make a request's sequence its caller's own.

    Args:
        owner: the caller's identity.

    Raises:
        BadRequestError: the id is nothing that could be one.
    """
    given = request.parameters.model_extra if request.parameters is not None else None
    # 0 and "" are no sequence.
    if given and (sent := given.get(SEQUENCE_ID)):
        try:
            given[SEQUENCE_ID] = OwnedId.of(owner, sent)
        except RecursionError as error:
            raise BadRequestError(
                f"Parameter '{SEQUENCE_ID}' must be a whole number or text."
            ) from error


def give_back(response: InferenceResponse, owner: str) -> None:
    """Let a response say its sequence's id as it was sent."""
    parameters = response.parameters
    found = (parameters.model_extra or {}).get(SEQUENCE_ID) if parameters is not None else None
    if parameters is None or not isinstance(found, str) or not found.startswith(owner + MARK):
        return
    # A copy: the model may have answered with the request's own parameters, and read them again.
    response.parameters = parameters.model_copy(update={SEQUENCE_ID: OwnedId(found).sent})
