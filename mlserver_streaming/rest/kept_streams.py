"""Streams that outlive their connections, over HTTP: read from where a reader stopped, listed,
cancelled."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Send

from ..errors import BadRequestError, MLServerError, UnsupportedError, shown
from ..resume.elsewhere import Elsewhere
from ..resume.position import Position
from ..resume.reader import Reader
from ..resume.run import Run
from ..resume.runs import Runs
from ..streams.calls import NO_SLOT, REST, Call
from ..streams.data_plane import StreamingDataPlane
from .accepting import EVENTS_TYPE, accepts_gzip, framing_for
from .asked import App
from .dialect import Dialect
from .events import JSON, Answers, EventStreamResponse
from .framing import LINES
from .generate import FlatAnswers
from .request_check import IS_HEAD
from .resumable_events import STREAM_ID, ResumableEvents
from .resumable_lines import ResumableLines

STREAMS = "/v2/streams"
LAST_EVENT_ID = "last-event-id"
# Of a list that lacks what other instances have, since the store does not answer.
PARTIAL = "x-streams-partial"
# https://www.rfc-editor.org/rfc/rfc7240#section-4.1
PREFER, RESPOND_ASYNC = "prefer", "respond-async"


class KeptStreams:
    """`/v2/streams`, `/v2/streams/{id}`, and readers of the streaming calls."""

    def __init__(
        self, data_plane: StreamingDataPlane, gzip: bool, dialects: Sequence[Dialect] = ()
    ):
        """
        Args:
            dialects: in which streams may have begun, too.
        """
        self._data_plane = data_plane
        self._gzip = gzip
        self._dialects = dialects

    def routes(self) -> list[Route]:
        one = STREAMS + "/{stream_id}"
        return [
            Route(STREAMS, self.list, methods=["GET"], include_in_schema=False),
            Route(one, App(self._one), methods=["GET", "DELETE"], include_in_schema=False),
        ]

    async def list(self, request: Request) -> Response:
        """The caller's own."""
        own = await self._runs().own()
        found = orjson.dumps([_shown(run) for run in own.streams])
        headers = None if own.is_whole else {PARTIAL: "true"}
        return Response(found, headers=headers, media_type="application/json")

    async def _one(self, request: Request, send: Send) -> None:
        if request.method == "DELETE":
            await self._runs().cancel(request.path_params["stream_id"])
            await Response(status_code=204)(request.scope, request.receive, send)
        elif IS_HEAD in request.scope:
            # At once: who reads a stream waits for its end.
            run = await self._runs().look(request.path_params["stream_id"])
            there = Response(None, 200, {STREAM_ID: run.head.id}, EVENTS_TYPE)
            # GET's length, which nobody knows: https://www.rfc-editor.org/rfc/rfc9110#section-8.6
            del there.headers["content-length"]
            await there(request.scope, request.receive, send)
        else:
            await self.read(request, send)

    async def begun(self, run: Run, request: Request, send: Send) -> None:
        """Answer who has begun a stream and does not listen yet."""
        answer = await accepted(self._runs(), run)
        await answer(request.scope, request.receive, send)

    async def read(self, request: Request, send: Send, of: str | None = None) -> None:
        """Answer who reads a stream, from its beginning or on from where he was.

        Args:
            of: the model that must be its; None where its address was asked for.

        Raises:
            MLServerError: there is nothing to read.
        """
        runs = self._runs()
        said = request.headers.get(LAST_EVENT_ID)
        position = Position.read(said) if said else Position(request.path_params["stream_id"])
        if position.stream != request.path_params.get("stream_id", position.stream):
            raise BadRequestError(f"'{shown(said or '')}' is no place in this stream.")
        run = await runs.find(position.stream)
        if dialect := next((d for d in self._dialects if d.has_begun(run.head.form)), None):
            answer = await dialect.read(request, run, position, is_again=bool(said))
            await answer(request.scope, request.receive, send)
            return
        if of is not None and of != run.head.model:
            raise BadRequestError(
                f"The stream of this Last-Event-ID is of model '{run.head.model}'; ask that, or "
                f"GET {STREAMS}/{run.head.id}."
            )
        events: EventStreamResponse | None = None
        try:
            opened = self._data_plane.calls.open(REST, request.headers, slot=NO_SLOT)
            async with opened as call:
                if said and runs.is_over(run, position):
                    # What tells an EventSource not to come back.
                    await Response(status_code=204)(request.scope, request.receive, send)
                    return
                events = self.events(await runs.resume(position), run, request, call)
                await events.run(request.scope, request.receive, send)
        except MLServerError as error:
            if events is None:
                raise
            await events.end_with(error, request.scope)

    def events(self, reader: Reader, run: Run, request: Request, call: Call) -> EventStreamResponse:
        """The answer to one who reads a stream: events, or lines where he wants these."""
        streaming, head = self._data_plane.streaming, run.head
        sent = self._data_plane.metrics.of(head.model, head.served, REST).sent

        def touch(size: int) -> None:
            call.touch()
            sent.inc(size)

        framing = framing_for(request)
        kind = ResumableLines if framing is LINES else ResumableEvents
        return kind(
            reader,
            head.id,
            framing=framing,
            rotation=self._data_plane.rotation,
            answers=answers_of(head.form),
            bound=self._data_plane.rest_bound,
            grace=streaming.first_response_grace_seconds,
            keepalive=streaming.keepalive_seconds,
            gzip=self._gzip and accepts_gzip(request),
            touch=touch,
            headers=call.returned,
        )

    def _runs(self) -> Runs:
        found: Runs | None = self._data_plane.resume
        if found is None:
            raise UnsupportedError("No streams are kept here.")
        return found


async def accepted(runs: Runs, run: Run) -> Response:
    """The answer to who has begun a stream and does not listen yet."""
    await can_be_found(runs, run)
    at = f"{STREAMS}/{run.head.id}"
    headers = {"Location": at, STREAM_ID: run.head.id, "Preference-Applied": RESPOND_ASYNC}
    found = {"id": run.head.id, "location": at, "resume_seconds": runs.seconds}
    return Response(orjson.dumps(found), 202, headers, "application/json")


async def can_be_found(runs: Runs, run: Run) -> None:
    """Wait until whoever is told of a run that has begun finds it."""
    # Its task has its call from here on: the service does not stop before that is over.
    await asyncio.sleep(0)
    await runs.known(run)


def wants_no_answer(request: Request) -> bool:
    """Whether who asks would rather have the stream's address than listen now."""
    said = ",".join(request.headers.getlist(PREFER)).lower().split(",")
    return RESPOND_ASYNC in (each.partition(";")[0].strip() for each in said)


def form_of(answers: Answers) -> dict[str, Any]:
    """How responses are written, in a stream's head."""
    if isinstance(answers, FlatAnswers):
        return {"one_text": answers.one_text, "with_id": answers.with_id}
    return {}


def answers_of(form: Mapping[str, Any]) -> Answers:
    """What writes the responses of a stream with this head."""
    if "one_text" in form:
        return FlatAnswers(with_id=bool(form.get("with_id")), one_text=bool(form["one_text"]))
    return JSON


def _shown(run: Run | Elsewhere) -> dict[str, Any]:
    left = run.seconds_left
    return {
        "id": run.head.id,
        "model_name": run.head.model,
        "model_version": run.head.served or "",
        "state": run.state,
        "responses": run.log.last,
        "first_response": run.log.first,
        "bytes": run.log.size,
        "seconds_left": None if left is None else round(left, 3),
    }
