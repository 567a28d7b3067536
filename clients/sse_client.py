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

import click

from mlserver_streaming.extras import needed_by

from .command import (
    REST_PORT,
    TIMEOUT_S,
    delay_option,
    option,
    reported,
    resumable_option,
    server_options,
)
from .credentials import ANONYMOUS, Credentials
from .errors import ItemError, ProtocolError
from .prompts import read_prompt
from .server import Server
from .stream_place import RESUMABLE, StreamPlace
from .tls import Tls

with needed_by("The SSE client", "clients", __name__):
    import httpx
    import httpx_sse

    from .http_model import HttpModel


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
        self._server = Server(host, port, tls, credentials)
        self._model, self._timeout, self._transport = model, timeout, transport

    async def words(
        self,
        prompt: str,
        parameters: Mapping[str, Any] | None = None,
        place: StreamPlace | None = None,
    ) -> AsyncGenerator[str, None]:
        """The model's answer, piece by piece; joined, the pieces are the whole text.

        With the parameter `resumable` it outlives its connection: the client comes back for the
        rest, and `place`, where it is given, tells how often.

        Raises what `events` raises, and ItemError when the model could not answer the prompt.
        """
        async with aclosing(self.events(prompt, parameters, place)) as events:
            async for event in events:
                for word in read_words(event.data):
                    yield word

    async def events(
        self,
        prompt: str,
        parameters: Mapping[str, Any] | None = None,
        place: StreamPlace | None = None,
    ) -> AsyncGenerator[httpx_sse.ServerSentEvent, None]:
        """Every event of the answer as it came, its `data` still JSON text.

        Asked again where the server went away before an event came, and gone on with where it went
        away later and the stream is resumable. Raises UnreachableError, TlsError, NoResponseError,
        RefusedError (an HTTP error; `status` is its number),
        ErrorEventError, StreamCutError or ProtocolError.
        """
        sequence_id = (parameters or {}).get("sequence_id")
        request = prompt_request(prompt, parameters)
        async with (
            HttpModel(self._server, self._model, self._timeout, self._transport) as connected,
            aclosing(
                connected.events("generate_stream", sequence_id, place, json=request)
            ) as events,
        ):
            async for event in events:
                yield event


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


@click.command()
@click.argument("prompt", nargs=-1)
@server_options(port=REST_PORT, model="text-model")
@delay_option()
@resumable_option()
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
    resumable: bool,
    raw: bool,
) -> None:
    """Stream PROMPT (standard input when left out) and print the words as they come."""
    with reported():
        text = read_prompt(prompt)
        client = SseClient(
            host=host, port=port, model=model, timeout=timeout, tls=tls, credentials=credentials
        )
        parameters: dict[str, Any] = {} if delay is None else {"delay": delay}
        if resumable:
            parameters[RESUMABLE] = True
        place = StreamPlace()
        try:
            asyncio.run(_print_events(client, text, parameters, place, raw=raw))
        finally:
            if summary := place.summary():
                click.echo(summary, err=True)


async def _print_events(
    client: SseClient,
    prompt: str,
    parameters: Mapping[str, Any],
    place: StreamPlace,
    *,
    raw: bool,
) -> None:
    if raw:
        async for event in client.events(prompt, parameters, place):
            click.echo(event.data)
        return
    begun = False
    try:
        async for word in client.words(prompt, parameters, place):
            click.echo(word, nl=False)
            begun = True
    finally:
        # An error starts on a line of its own.
        if begun:
            click.echo()


if __name__ == "__main__":
    main()
