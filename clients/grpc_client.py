"""Stream a model's text over gRPC: one prompt, or several on one stream.

python -m clients.grpc_client "What is the capital of France?"

async with GrpcTextClient(model="text-model") as client:
    async for word in client.words("What is the capital of France?"):
        print(word, end="", flush=True)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import click
from mlserver.grpc.dataplane_pb2 import ModelInferResponse

from .command import (
    GRPC_PORT,
    TIMEOUT_S,
    delay_option,
    option,
    reported,
    resumable_option,
    server_options,
)
from .credentials import ANONYMOUS, Credentials
from .errors import ClientError, ItemError, LostReasonError
from .grpc_messages import Parameter, bytes_output, bytes_request, response_error, text_parameter
from .grpc_model import GrpcModel
from .prompts import checked_prompt, read_lines, read_prompt
from .retries import Retries
from .server import Server
from .stream_call import StreamCall
from .stream_place import RESUMABLE, RESUME_ID, TRIES, StreamPlace
from .tls import Tls
from .unanswered import Unanswered


@dataclass(frozen=True)
class TextResponse:
    """One response: a piece of the text, or the reason why the request `id` failed: an ItemError,
    or what broke the stream off in the middle of its answer."""

    id: str
    text: str
    error: ClientError | None = None


class GrpcTextClient(GrpcModel):
    """One text model behind ModelStreamInfer; one channel, any number of streams at a time.

    `timeout` is in seconds, for each response once all prompts are sent: until then nobody can tell
    whether the server or the next prompt is late.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = GRPC_PORT,
        model: str = "text-model",
        timeout: float = TIMEOUT_S,
        tls: Tls | None = None,
        credentials: Credentials = ANONYMOUS,
    ) -> None:
        super().__init__(Server(host, port, tls, credentials), model, timeout)

    async def words(
        self,
        prompt: str,
        parameters: Mapping[str, Parameter] | None = None,
        place: StreamPlace | None = None,
    ) -> AsyncGenerator[str, None]:
        """Unary-stream: one request, its answer piece by piece.

        Raises what `responses` raises, and ItemError when the model could not answer the prompt.
        """
        async with aclosing(self.responses([prompt], parameters, place)) as responses:
            async for response in responses:
                if response.error is not None:
                    raise response.error
                yield response.text

    async def responses(
        self,
        prompts: Iterable[str] | AsyncIterable[str],
        parameters: Mapping[str, Parameter] | None = None,
        place: StreamPlace | None = None,
    ) -> AsyncGenerator[TextResponse, None]:
        """Stream-stream: every prompt is a request of one stream, with the ids "0", "1", ...

        Responses come while prompts are still being sent. A failed prompt is a response with
        `error`; the stream goes on. Where the server goes away, the prompts that have no answer yet
        are sent again, and the one whose answer broke off gets a response with `error`. With the
        parameter `resumable` the client comes back for the rest of what the server has read, before
        it sends more; `place`, where it is given, tells how often it did. Raises
        UnreachableError, NoResponseError, RefusedError (a gRPC error; `status` is its name),
        StreamCutError or ProtocolError, and whatever `prompts` raises.
        """
        sequence_id: Any = (parameters or {}).get("sequence_id")
        retries = Retries(in_sequence=bool(sequence_id))
        asked = Unanswered(prompts)

        async def send(call: StreamCall) -> None:
            async for request_id, prompt in asked.to_ask():
                request = bytes_request(
                    checked_prompt(prompt).encode(),
                    model=self._model,
                    request_id=request_id,
                    tensor="prompt",
                    parameters=parameters,
                )
                await call.write(request)

        place = place or StreamPlace()
        coming_back = Retries(tries=TRIES)
        careful = False
        async with aclosing(asked):
            while True:
                resume = None if place.stream is None else place.id
                back = False
                try:
                    async with aclosing(
                        self.exchange(
                            send if resume is None else _send_nothing,
                            sequence_id=sequence_id,
                            careful=careful and resume is None,
                            resume=resume,
                        )
                    ) as messages:
                        async for message in messages:
                            if resume is not None and not back:
                                place.came_back()
                            back = True
                            retries.restart()
                            coming_back.restart()
                            place.reached(text_parameter(message, RESUME_ID))
                            asked.answered(message.id)
                            yield _text_response(message)
                    if resume is None:
                        return
                    if not back:
                        place.came_back()
                    place.forget()
                    if asked.is_empty:
                        return
                except ClientError as error:
                    if resume is None and not retries.may(error):
                        raise
                    if place.stream is not None:
                        with suppress(ClientError):
                            await coming_back.after(error)
                            continue
                        # What was being said is lost, what nobody has begun to answer is not.
                        place.forget()
                    cut = asked.cut()
                    for request_id in cut:
                        yield TextResponse(request_id, "", error)
                    if cut and asked.is_empty:
                        return
                    if resume is None:
                        await retries.after(error)
                    careful = isinstance(error, LostReasonError)


async def _send_nothing(call: StreamCall) -> None:
    """The server has the requests of a stream that is resumed."""


def _text_response(message: ModelInferResponse) -> TextResponse:
    if (failure := response_error(message)) is not None:
        return TextResponse(message.id, "", ItemError(*failure))
    return TextResponse(message.id, bytes_output(message, "output").decode(errors="replace"))


@click.command()
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@server_options(port=GRPC_PORT, model="text-model")
@delay_option()
@resumable_option()
@option(
    "--stdin-lines",
    is_flag=True,
    envvar="CLIENT_STDIN_LINES",
    help="Send each line of standard input as a prompt of one stream, as soon as it is there.",
)
def main(
    prompts: tuple[str, ...],
    host: str,
    port: int,
    model: str,
    timeout: float,
    tls: Tls | None,
    credentials: Credentials,
    delay: float | None,
    resumable: bool,
    stdin_lines: bool,
) -> None:
    """Stream each PROMPT (standard input when left out) and print the words as they come.

    Several prompts go over one stream; each answer has a line of its own.
    """
    if stdin_lines and prompts:
        raise click.UsageError("--stdin-lines goes without PROMPT arguments")
    with reported():
        lines = read_lines(sys.stdin.fileno()) if stdin_lines else None
        source = lines or prompts or [read_prompt(())]
        client = GrpcTextClient(
            host=host, port=port, model=model, timeout=timeout, tls=tls, credentials=credentials
        )
        parameters: dict[str, Parameter] = {} if delay is None else {"delay": delay}
        if resumable:
            parameters[RESUMABLE] = True
        place = StreamPlace()
        try:
            failed = asyncio.run(_print_responses(client, source, parameters, place))
        finally:
            if summary := place.summary():
                click.echo(summary, err=True)
    if failed:
        raise SystemExit(1)


async def _print_responses(
    client: GrpcTextClient,
    prompts: Iterable[str] | AsyncIterable[str],
    parameters: Mapping[str, Parameter],
    place: StreamPlace,
) -> int:
    """Print words, a line for each request; returns how many requests failed."""
    failed = 0
    current: str | None = None
    async with client:
        try:
            async for response in client.responses(prompts, parameters, place):
                if current not in (None, response.id):
                    click.echo()
                current = response.id
                if response.error is not None:
                    failed += 1
                    click.echo(f"Error: prompt {response.id}: {response.error}", err=True)
                    current = None
                else:
                    click.echo(response.text, nl=False)
        finally:
            if current is not None:
                click.echo()
    return failed


if __name__ == "__main__":
    main()
