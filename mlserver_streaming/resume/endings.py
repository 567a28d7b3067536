"""How a stream ended, as bytes."""

from __future__ import annotations

import orjson

from ..errors import CancelledStreamError, MLServerError
from .run import CANCELLED, COMPLETED, FAILED, Run

CANCELLED_STATUS = CancelledStreamError().status_code


def ending_of(run: Run) -> bytes:
    """The ending of a run that has ended."""
    error = run.error
    return orjson.dumps(None if error is None else [error.status_code, str(error)])


def state_of(ending: bytes) -> str:
    """The state of a run that ended so (run.py)."""
    if (error := error_of(ending)) is None:
        return COMPLETED
    return CANCELLED if isinstance(error, CancelledStreamError) else FAILED


def error_of(ending: bytes) -> MLServerError | None:
    """What a stream ended with; None where it ended well."""
    found = orjson.loads(ending)
    if found is None:
        return None
    status, text = found
    return CancelledStreamError() if status == CANCELLED_STATUS else MLServerError(text, status)
