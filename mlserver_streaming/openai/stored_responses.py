"""`responses/{id}`: a response that is kept is looked at, read, cancelled and deleted.

https://platform.openai.com/docs/api-reference/responses/get
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, NamedTuple, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ..errors import BadRequestError, LostStreamError, MovedError, NoSuchStreamError
from ..rest.request_check import IS_HEAD
from ..resume.head import Head
from ..resume.position import MAX_DIGITS, Position
from ..resume.run import Run
from .calls import JSON, Calls
from .errors import FieldError, FutureEventError, NoResponseError
from .input_items import ITEMS, KEPT_BYTES, MOST_ITEMS, input_items, page
from .kept_ask import KeptAsk
from .kept_text import KeptText
from .responses import RESPONSE_PREFIX
from .text_form import RESPONSES

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]
ID = "response_id"
ONE = f"{RESPONSES}/{{{ID}}}"
# How long a model may take to end where it is cancelled.
ENDING_SECONDS = 5.0


class Found(NamedTuple):
    """A response of the caller.

    Attributes:
        stream: its stream's id, as the caller has it.
    """

    run: Run
    kept: KeptAsk
    stream: str


class StoredResponses:
    """They are runs that began at `responses`, under the ids of their streams."""

    def __init__(self, calls: Calls, kept: KeptText):
        self._calls = calls
        self._kept = kept

    def gets(self) -> dict[str, Endpoint]:
        return {ONE: self.get, f"{ONE}/input_items": self.input_items}

    def posts(self) -> dict[str, Endpoint]:
        return {f"{ONE}/cancel": self.cancel}

    def deletes(self) -> dict[str, Endpoint]:
        return {ONE: self.delete}

    async def get(self, request: Request) -> Response:
        """As it stands, or its events behind one."""
        streams = _streams(request)
        after = _starting_after(request, streams)
        found = await self._find(request)
        if not streams or IS_HEAD in request.scope:
            try:
                return await self._standing(request, found)
            except MovedError:
                # Whose instance is gone is found where it goes on.
                return await self._standing(request, await self._find(request))
        place = Position(found.stream, 0 if after is None else after + 1)
        try:
            return await self._kept.read(request, found.run, place, ends_with_204=False)
        except FutureEventError as error:
            raise FieldError(
                f"'starting_after' must be the sequence_number of an event that is there, and "
                f"the last is {error.last - 1}.",
                "starting_after",
            ) from None

    async def input_items(self, request: Request) -> Response:
        """What it was asked with, whatever has become of it."""
        limit, newest_first = _limit(request), _newest_first(request)
        named: str = request.path_params[ID]
        _, kept = self._known(request, (await self._here(request, self._kept.runs.look)).head)
        if kept.ask.input is None:
            raise BadRequestError(
                f"The input of this response is larger than {KEPT_BYTES} bytes, and is not kept."
            )
        after = request.query_params.get("after")
        found = page(input_items(kept.ask.input, named), after, limit, newest_first)
        if found is None:
            raise FieldError("'after' must be the id of one of the items.", "after")
        return Response(orjson.dumps(found), media_type=JSON)

    async def cancel(self, request: Request) -> Response:
        """End its model's work; what there is of it is kept. Twice is as good as once."""
        found = await self._find(request)
        if not found.kept.ask.background:
            raise BadRequestError(
                "Only a response with 'background' true can be cancelled; close the connection "
                "of this one, or delete it."
            )
        run = found.run
        if not run.ended:
            run.call_off()
            await run.until(math.inf, ENDING_SECONDS)
        return await self._standing(request, found)

    async def delete(self, request: Request) -> Response:
        """End it wherever it runs, and forget it."""
        runs = self._kept.runs
        named: str = request.path_params[ID]
        stream = named.removeprefix(RESPONSE_PREFIX)
        # One that nobody can go on with is deleted without a look.
        with suppress(LostStreamError):
            self._known(request, (await self._here(request, runs.look)).head)
        await runs.cancel(stream)
        said = {"id": named, "object": "response", "deleted": True}
        return Response(orjson.dumps(said), media_type=JSON)

    async def _find(self, request: Request) -> Found:
        """
        Raises:
            NoResponseError: the caller has no such response.
        """
        run = await self._here(request, self._kept.runs.find)
        stream, kept = self._known(request, run.head)
        return Found(run, kept, stream)

    async def _here(self, request: Request, find: Callable[[str], Awaitable[T]]) -> T:
        """What is found of the response's stream."""
        named: str = request.path_params[ID]
        try:
            return await find(named.removeprefix(RESPONSE_PREFIX))
        except NoSuchStreamError:
            raise NoResponseError(named) from None

    def _known(self, request: Request, head: Head) -> tuple[str, KeptAsk]:
        """The id of the stream, as the caller has it, and how it is written."""
        named: str = request.path_params[ID]
        stream = named.removeprefix(RESPONSE_PREFIX)
        kept = KeptAsk.of(head.form)
        if stream == named or kept is None or kept.form.path != RESPONSES:
            raise NoResponseError(named)
        return stream, kept

    async def _standing(self, request: Request, found: Found) -> Response:
        head = found.run.head
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(self._calls.open_to_read(request))
            figures = self._calls.figures_of(head.model, head.served)
            return await self._kept.standing(found.run, found.kept, call, figures, stack)


def _streams(request: Request) -> bool:
    said = request.query_params.get("stream", "false").lower()
    if said not in ("true", "false"):
        raise FieldError("'stream' must be true or false.", "stream")
    return said == "true"


def _starting_after(request: Request, streams: bool) -> int | None:
    said: Any = request.query_params.get("starting_after")
    if said is None:
        return None
    if not (said.isascii() and said.isdecimal() and len(said) <= MAX_DIGITS):
        raise FieldError("'starting_after' must be a sequence_number, 0 or more.", "starting_after")
    if not streams:
        raise FieldError("'starting_after' needs 'stream' to be true.", "stream")
    return int(said)


def _limit(request: Request) -> int:
    said: str = request.query_params.get("limit", str(ITEMS))
    if not (said.isascii() and said.isdecimal() and len(said) <= MAX_DIGITS) or not (
        1 <= int(said) <= MOST_ITEMS
    ):
        raise FieldError(f"'limit' must be a number from 1 to {MOST_ITEMS}.", "limit")
    return int(said)


def _newest_first(request: Request) -> bool:
    said = request.query_params.get("order", "desc")
    if said not in ("asc", "desc"):
        raise FieldError("'order' must be asc or desc.", "order")
    return said == "desc"
