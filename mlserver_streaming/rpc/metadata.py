"""The metadata of a call: what came with it, and what goes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import grpc

from ..streams.calls import REQUEST_ID, Call
from ..streams.sequence_header import SEQUENCE_HEADER, all_said, is_returnable

if TYPE_CHECKING:  # the generic exists in grpc's stubs only
    Context = grpc.aio.ServicerContext[Any, Any]


def metadata_of(context: Context) -> dict[str, Any]:
    """A call's metadata: the same for all its messages."""
    given = context.invocation_metadata() or ()
    found: dict[str, Any] = dict(given)
    if SEQUENCE_HEADER in found:
        found[SEQUENCE_HEADER] = all_said(
            str(value) for name, value in given if name == SEQUENCE_HEADER
        )
    return found


async def return_sequence(context: Context, call: Call) -> None:
    """Give a call's `x-sequence-id` back at once, as initial metadata."""
    if call.sequence is not None and is_returnable(call.sequence):
        await context.send_initial_metadata(((SEQUENCE_HEADER, call.sequence),))


def send_headers(said: Iterable[tuple[str, str]], context: Context, call: Call) -> None:
    """A response's headers as the call's trailing metadata."""
    sent = tuple(said)
    if call.request_id and sent:
        own = (REQUEST_ID, call.request_id)
        sent = (*(each for each in sent if each[0] != REQUEST_ID), own)
    if sent:
        context.set_trailing_metadata(sent)
