"""What is known of a stream from its beginning on, whoever answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Head:
    """Everything in it has a form in JSON.

    Attributes:
        id: the stream's.
        owner: its caller's identity (access/callers.py); empty where all callers are one.
        model, version: who answers, as the caller named them; version None for the one that serves.
        served: the version that answers.
        protocol: of the edge that it began at, for the metrics.
        began: seconds since 1970.
        seconds_kept: how long it is kept after its end.
        form: how an edge writes its responses. Only edges look into it, and each may find another's
            there: what it does not know it takes to be as usual.
    """

    id: str
    owner: str
    model: str
    version: str | None
    served: str | None
    protocol: str
    began: float
    seconds_kept: float
    form: Mapping[str, Any] = field(default_factory=dict)
