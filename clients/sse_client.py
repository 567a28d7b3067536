"""Stream a model's text over REST as server-sent events.

python -m clients.sse_client "What is the capital of France?"

async for word in SseClient(model="text-model").words("What is the capital of France?"):
    print(word, end="", flush=True)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import click

from mlserver_streaming.extras import needed_by

from .address import is_loopback, join_address
from .command import REST_PORT, TIMEOUT_S, delay_option, option, reported, server_options
from .credentials import ANONYMOUS, Credentials
from .errors import (
    ClientError,
    ErrorEventError,
    ItemError,
    NoResponseError,
    ProtocolError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from .prompts import read_prompt
from .tls import Tls, hang_up_hint, tls_error

with needed_by("The SSE client", "clients", __name__):
    import httpx
    import httpx_sse

# An error is one sentence; of a longer body (a proxy's page, say) the start is enough.
ERROR_BODY_LIMIT = 64 * 1024


class SseClient:
    """One model behind `POST /v2/models/{model}/generate_stream`.

    `timeout` is in seconds, for each event: comment lines that keep the connection alive do not
    count. Every stream has a connection of its own, so one client serves many tasks at a time.
    `transport` replaces the network, in tests.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = REST_PORT,
        model: str = "text-model",
        timeout: float = TIMEOUT_S,
        tls: Tls | None = None,
        credentials: Credentials = ANONYMOUS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = join_address(host, port)
        scheme = "http" if tls is None else "https"
        self._url = f"{scheme}://{self._address}/v2/models/{quote(model, safe='')}/generate_stream"
        self._timeout = timeout
        self._trust_env = not is_loopback(host)
        self._tls, self._transport = tls, transport
        self._headers = credentials.headers()

    async def words(
        self, prompt: str, parameters: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[str, None]:
        """The model's answer, piece by piece; joined, the pieces are the whole text.

        Raises what `events` raises, and ItemError when the model could not answer the prompt.
        """
        async with aclosing(self.events(prompt, parameters)) as events:
            async for event in events:
                for word in read_words(event.data):
                    yield word

    async def events(
        self, prompt: str, parameters: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[httpx_sse.ServerSentEvent, None]:
        """Every event of the answer as it came, its `data` still JSON text.

        Raises UnreachableError, NoResponseError, RefusedError (an HTTP error; `status` is its
        number), ErrorEventError, StreamCutError or ProtocolError.
        """
        answered = False
        try:
            async with (
                httpx.AsyncClient(
                    headers=self._headers,
                    transport=self._transport,
                    trust_env=self._trust_env,
                    timeout=self._timeout,
                    verify=True if self._tls is None else self._tls.context(),
                ) as client,
                httpx_sse.aconnect_sse(
                    client, "POST", self._url, json=prompt_request(prompt, parameters)
                ) as source,
            ):
                answered = True
                await _check_status(source.response)
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
            return await anext(events, None)

    def _client_error(self, error: Exception, answered: bool) -> ClientError:
        match error:
            case TimeoutError() | httpx.TimeoutException():
                return NoResponseError(
                    f"no response from {self._address} within {self._timeout:g} s"
                )
            case httpx.TransportError() if fault := tls_error(str(error), self._address):
                return fault
            case httpx.ConnectError() | httpx.InvalidURL():
                return UnreachableError(f"nobody answers at {self._address}: {error}")
            case httpx_sse.SSEError():
                return ProtocolError(f"the answer is not an event stream: {error}")
        if answered:
            return StreamCutError(
                f"the stream from {self._address} was cut before its end: {error}"
            )
        hint = hang_up_hint(self._tls)
        return ProtocolError(f"{self._address} gave no HTTP response: {error}{hint}")


def prompt_request(prompt: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The InferenceRequest (as JSON values) for one prompt."""
    tensor = {
        "name": "prompt",
        "datatype": "BYTES",
        "shape": [1],
        "data": [prompt],
        "parameters": {"content_type": "str"},
    }
    return {"inputs": [tensor], "parameters": dict(parameters or {})}


def read_words(data: str) -> list[str]:
    """The text in one event's data: an InferenceResponse with the output tensor `output`.

    Raises ItemError when the response says that its request failed, ProtocolError when it is none.
    """
    try:
        response = json.loads(data)
        parameters = response.get("parameters") or {}
        if "error" in parameters:
            raise ItemError(str(parameters["error"]), parameters.get("error_code"))
        outputs = {tensor["name"]: tensor["data"] for tensor in response["outputs"]}
        words = outputs["output"]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ProtocolError(f"an event is not an inference response: {data[:200]}") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ProtocolError(f"an event's output is not text: {data[:200]}")
    return words


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
    raise RefusedError(message, response.status_code)


def _error_of(data: str) -> str | None:
    """The sentence in `{"error": "<sentence>"}`, None when `data` is something else."""
    try:
        error = json.loads(data)["error"]
    except (ValueError, TypeError, KeyError):
        return None
    return str(error)


@click.command()
@click.argument("prompt", nargs=-1)
@server_options(port=REST_PORT, model="text-model")
@delay_option()
@option("--raw", is_flag=True, envvar="CLIENT_RAW", help="Print each event's data line.")
def main(
    prompt: tuple[str, ...],
    host: str,
    port: int,
    model: str,
    timeout: float,
    tls: Tls | None,
    credentials: Credentials,
    delay: float | None,
    raw: bool,
) -> None:
    """Stream PROMPT (standard input when left out) and print the words as they come."""
    with reported():
        text = read_prompt(prompt)
        client = SseClient(
            host=host, port=port, model=model, timeout=timeout, tls=tls, credentials=credentials
        )
        parameters = {} if delay is None else {"delay": delay}
        asyncio.run(_print_events(client, text, parameters, raw=raw))


async def _print_events(
    client: SseClient, prompt: str, parameters: Mapping[str, Any], *, raw: bool
) -> None:
    if raw:
        async for event in client.events(prompt, parameters):
            click.echo(event.data)
        return
    begun = False
    try:
        async for word in client.words(prompt, parameters):
            click.echo(word, nl=False)
            begun = True
    finally:
        # An error starts on a line of its own.
        if begun:
            click.echo()


if __name__ == "__main__":
    main()
