"""One model of a server over HTTP: calls, streams of events, and what their errors mean."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import httpx_sse

from .errors import (
    ClientError,
    ErrorEventError,
    NoResponseError,
    ProtocolError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from .retries import Retries
from .sequence_header import sequence_headers
from .server import Server
from .stream_place import LAST_EVENT_ID, TRIES, StreamPlace
from .tls import hang_up_hint, tls_error

# An error is one sentence; of a longer body (a proxy's page, say) the start is enough.
ERROR_BODY_LIMIT = 64 * 1024
# httpx's words for a server that closes the connection in place of an answer.
_HUNG_UP = "disconnected without sending a response"


class HttpModel:
    """Connections to one model, open within `async with`; any number of calls at a time.

    `timeout` is in seconds, for each response or event: comment lines that keep a connection alive
    do not count. `transport` replaces the network, in tests.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._server, self._timeout, self._transport = server, timeout, transport
        self._base = f"{server.url}/v2/models/{quote(model, safe='')}"

    async def __aenter__(self) -> Self:
        """Raises TlsError when a file of the server's `tls` is no good."""
        tls = self._server.tls
        self._client = httpx.AsyncClient(
            headers=self._server.credentials.headers(),
            transport=self._transport,
            trust_env=self._server.may_use_proxy,
            timeout=self._timeout,
            verify=True if tls is None else tls.context(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def post(self, call: str, **request: Any) -> httpx.Response:
        """The whole answer to one request: `call` is the path's last word, `request` is httpx's.

        Asked again where the server went away and nothing of an answer came. Raises what `events`
        raises, but for ErrorEventError.
        """
        retries = Retries()
        while True:
            answered = False
            try:
                async with self._client.stream("POST", f"{self._base}/{call}", **request) as got:
                    await _check_status(got)
                    answered = True
                    await got.aread()
                    return got
            except (ClientError, httpx.HTTPError, httpx.InvalidURL) as error:
                known = self._client_error(error, answered)
                if answered:
                    raise known from error
                await retries.after(known)

    async def events(
        self,
        call: str,
        sequence_id: int | str | None = None,
        place: StreamPlace | None = None,
        **request: Any,
    ) -> AsyncGenerator[httpx_sse.ServerSentEvent, None]:
        """Every event of the answer to one request as it came, its `data` still JSON text.

        Asked again where the server went away before an event came; after that, where its events
        have ids, another connection goes on behind the last one.

        Args:
            call: the path's last word; `request` is httpx's.
            sequence_id: that of the request, if it has one.
            place: is told how far the stream is.

        Raises UnreachableError, TlsError, NoResponseError, RefusedError (an HTTP error; `status` is
        its number), ErrorEventError, StreamCutError or ProtocolError.
        """
        retries = Retries(in_sequence=bool(sequence_id))
        request["headers"] = sequence_headers(sequence_id) | request.get("headers", {})
        place = place or StreamPlace()
        answered = False
        while True:
            try:
                async with aclosing(self._events("POST", f"{self._base}/{call}", **request)) as got:
                    async for event in got:
                        answered = True
                        place.reached(event.id)
                        yield event
                return
            except ClientError as error:
                if place.stream is not None:
                    cut = error
                    break
                if answered:
                    raise
                await retries.after(error)
        async with aclosing(self._rest(place, cut)) as rest:
            async for event in rest:
                yield event

    async def _rest(
        self, place: StreamPlace, cut: ClientError
    ) -> AsyncGenerator[httpx_sse.ServerSentEvent, None]:
        """The events that other connections bring, now that the first one ended with `cut`."""
        retries = Retries(tries=TRIES)
        while True:
            await retries.after(cut)
            back = False
            try:
                # It may have another id each time a replica goes on with what another began.
                url = f"{self._server.url}/v2/streams/{place.stream}"
                headers = {LAST_EVENT_ID: place.id}
                async with aclosing(self._events("GET", url, headers=headers)) as got:
                    async for event in got:
                        if not back:
                            place.came_back()
                            retries.restart()
                        back = True
                        place.reached(event.id)
                        yield event
                if not back:
                    place.came_back()
                return
            except ClientError as error:
                cut = error

    async def _events(
        self, method: str, url: str, **request: Any
    ) -> AsyncGenerator[httpx_sse.ServerSentEvent, None]:
        answered = False
        try:
            async with httpx_sse.aconnect_sse(self._client, method, url, **request) as source:
                answered = True
                await _check_status(source.response)
                if source.response.status_code == httpx.codes.NO_CONTENT:
                    return  # all of it was said before
                # Event streams are UTF-8 whatever else is said, and may begin with its mark, which
                # httpx-sse takes for a part of the first field's name.
                source.response.encoding = "utf-8-sig"
                async with aclosing(source.aiter_sse()) as events:
                    while (event := await self._next(events)) is not None:
                        if event.event == "error":
                            raise ErrorEventError(_error_of(event.data) or event.data)
                        yield event
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, httpx_sse.SSEError) as error:
            raise self._client_error(error, answered) from error

    async def _next(
        self, events: AsyncGenerator[httpx_sse.ServerSentEvent, None]
    ) -> httpx_sse.ServerSentEvent | None:
        # httpx's own timeout starts again at each keep-alive comment; this one does not.
        async with asyncio.timeout(self._timeout):
            event = await anext(events, None)
            pause = None
            # httpx-sse makes an event without data of a comment after an event that had an id.
            while event is not None and not event.data:
                pause = event.retry if event.retry is not None else pause
                event = await anext(events, None)
            if event is None and pause is not None:
                raise self._asked_to_come_back(pause / 1000)
            return event

    def _asked_to_come_back(self, seconds: float) -> ClientError:
        """The server ended the connection, not the stream: it stops, another goes on."""
        error = StreamCutError(f"{self._server.address} stops, and asks to come back")
        error.retry_after = seconds
        return error

    def _client_error(self, error: Exception, answered: bool) -> ClientError:
        address = self._server.address
        match error:
            case ClientError():
                return error
            case TimeoutError() | httpx.TimeoutException():
                return NoResponseError(address, self._timeout)
            case httpx.TransportError() if fault := tls_error(str(error), address):
                return fault
            case httpx.ConnectError() | httpx.InvalidURL():
                return UnreachableError(f"nobody answers at {address}: {error}")
            case httpx_sse.SSEError():
                return ProtocolError(f"the answer is not an event stream: {error}")
        if answered:
            return StreamCutError(f"the answer from {address} was cut before its end: {error}")
        text = f"{address} gave no HTTP response: {error}{hang_up_hint(self._server.tls)}"
        hung_up = isinstance(error, httpx.NetworkError) or _HUNG_UP in str(error)
        return StreamCutError(text) if hung_up else ProtocolError(text)


async def _check_status(response: httpx.Response) -> None:
    """Raise RefusedError, with the server's own sentence where it sent one."""
    if response.is_success:
        return
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ERROR_BODY_LIMIT:
            break
    text = body.decode(errors="replace").strip()
    message = _error_of(text) or text[:200] or response.reason_phrase
    after = response.headers.get("retry-after", "")
    raise RefusedError(message, response.status_code, float(after) if after.isdecimal() else None)


def _error_of(data: str) -> str | None:
    """The sentence in `{"error": "<sentence>"}`, None when `data` is something else."""
    try:
        error = json.loads(data)["error"]
    except (ValueError, TypeError, KeyError):
        return None
    return str(error)
