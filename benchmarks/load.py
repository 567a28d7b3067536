"""`python -m benchmarks.load`: how many real-time streams a server keeps up with.

Paced, open load on any Open Inference server: cameras whose frames are due 25 times a second, or
streams of tokens that a reader expects 30 times a second; how late do the answers come?

    python -m benchmarks.load frames --streams 8
    python -m benchmarks.load tokens --wire sse --parameter delay=0.03 --rate 30 --find
"""

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, BinaryIO, TextIO
from urllib.parse import quote

import click
import uvloop

from clients.address import join_address
from clients.command import option, reported, server_options
from clients.grpc_channel import channel_credentials
from clients.grpc_messages import Parameter
from clients.tls import hang_up_hint, tls_error

from .contenders.process import ContenderError
from .inputs.frames import element_requests
from .inputs.frames import frames as sample_frames
from .inputs.text_prompt import prompt as sample_prompt
from .loads.grpc_wire import STREAM, GrpcWire
from .loads.http_wire import JSON, HttpWire, post
from .loads.pace import Pace, Paced, find_most
from .loads.paced_load import Items, Tokens, run_paced
from .report.paced_table import as_table

# What each wire is, and the port that it has where none is named.
PORTS = {"grpc": 8081, "triton": 8001, "sse": 8080}
WIRES = (
    "grpc: ModelStreamInfer as MLServer has it; triton: the same in Triton's dialect; "
    "sse: generate_stream with a V2 body"
)
MAX_STREAMS = 10_000
POSITIVE = click.FloatRange(min=0, min_open=True)
# The values of the options that both commands have, by their names; and `address`.
Wanted = SimpleNamespace


def parameter(
    _: click.Context, __: click.Parameter, given: tuple[str, ...]
) -> dict[str, Parameter]:
    """NAME=VALUE, the value as JSON has it where it can be read so, else a text."""
    found: dict[str, Parameter] = {}
    for each in given:
        name, sign, text = each.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found[name] = value if isinstance(value, str | int | float | bool) else text
    return found


def load_options(
    *, model: str, tensor: str, rate: float, wire: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that both commands have, with what each of them takes unless told."""
    streams = click.IntRange(1, MAX_STREAMS)
    several: dict[str, Any] = {"multiple": True, "callback": parameter}
    options: list[Callable[[Callable[..., None]], Callable[..., None]]] = [
        server_options(port=PORTS, model=model),
        option("--wire", type=click.Choice(list(PORTS)), default=wire, help=f"{WIRES}."),
        option("--input", "tensor", default=tensor, help="Name of the model's input."),
        option(
            "--parameter", "parameters", **several, help="Request parameter NAME=VALUE; several."
        ),
        option("--rate", default=rate, type=POSITIVE, help="Items a second of each stream."),
        option("--seconds", default=10.0, type=click.FloatRange(0.1, 86_400), help="Of a run."),
        option(
            "--streams",
            default=1,
            type=streams,
            help="Streams at once; with --find, the first number to try.",
        ),
        option("--find", is_flag=True, help="Find how many fit within the limit."),
        option("--limit", "limit_ms", default=100.0, type=POSITIVE, help="Of p99 lateness, in ms."),
        option("--json", "output", type=click.File("w", lazy=True), help="Also write JSON here."),
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for add in reversed(options):
            command = add(command)
        return command

    return decorate


@click.group()
def main() -> None:
    """Paced real-time load on any Open Inference server.

    FRAMES sends each stream's items when they are due and waits for an answer to each; TOKENS asks
    once and expects the answer's tokens at a rate. Lateness is counted from when an item was due,
    however long it had to wait to be sent.
    """


@main.command()
@load_options(model="jpeg-model", tensor="image", rate=25.0, wire="grpc")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.File("rb"),
    help="An image, sent as it is; may be repeated. [default: a 640x480 sample scene]",
)
def frames(files: tuple[BinaryIO, ...], **given: Any) -> None:
    """Streams of frames, each due RATE times a second: cameras, or any other items."""
    elements = [file.read() for file in files] or list(sample_frames())
    finish(elements, Items, **given)


@main.command()
@load_options(model="text-model", tensor="prompt", rate=30.0, wire="sse")
@click.option("--prompt", help="What to ask. [default: 200 words]")
@click.option("--file", type=click.File(errors="replace"), help="A file with the prompt.")
def tokens(prompt: str | None, file: TextIO | None, **given: Any) -> None:
    """Streams of tokens, expected RATE times a second from the first token on.

    The wait for the first token is reported by itself. A stream that ends begins again.
    """
    if prompt is not None and file is not None:
        raise click.UsageError("--prompt and --file exclude each other")
    text = file.read() if file else prompt or sample_prompt()
    finish([text.encode()], Tokens, **given)


def wire(wanted: Wanted) -> GrpcWire | HttpWire:
    """One camera's way to the server, or one reader's."""
    tls = wanted.tls
    if wanted.wire == "sse":
        return HttpWire(wanted.host, wanted.port, None if tls is None else tls.context())
    credentials = None if tls is None else channel_credentials(tls)
    metadata, triton = wanted.credentials.metadata(), wanted.wire == "triton"
    return GrpcWire(wanted.address, STREAM, triton, credentials, metadata)


def http_request(wanted: Wanted, element: bytes) -> bytes:
    """An element in a V2 body: its text, or its base64."""
    try:
        text, kind = element.decode(), "str"
    except UnicodeDecodeError:
        text, kind = base64.b64encode(element).decode(), "base64"
    tensor = {"name": wanted.tensor, "datatype": "BYTES", "shape": [1], "data": [text]}
    inputs = [{**tensor, "parameters": {"content_type": kind}}]
    body = json.dumps({"inputs": inputs, "parameters": wanted.parameters}).encode()
    path = f"/v2/models/{quote(wanted.model, safe='')}/generate_stream"
    headers = {"Accept": "text/event-stream", **wanted.credentials.headers()}
    return post(path, body, JSON, headers, wanted.address)


def finish(
    elements: list[bytes], kind: type[Items | Tokens], port: int | None, **given: Any
) -> None:
    """Run what is wanted, print the table, write the JSON; exit status 1 where nothing fits."""
    port = port or PORTS[given["wire"]]
    wanted = Wanted(port=port, address=join_address(given["host"], port), **given)
    if wanted.wire == "sse":
        requests = [http_request(wanted, each) for each in elements]
    else:
        requests = element_requests(wanted.model, wanted.tensor, elements, wanted.parameters)
    runs: list[Paced] = []

    async def fits(streams: int) -> bool:
        pace = Pace(streams, wanted.rate, wanted.seconds, min(1.0, wanted.seconds / 2))
        wires = [wire(wanted) for _ in range(streams)]
        runs.append(await run_paced(wires, kind, requests, pace, "first"))
        if wanted.find:
            click.echo(f"{streams} streams: p99 {1e3 * runs[-1].late_p99:.1f} ms late", err=True)
        return runs[-1].fits(wanted.limit_ms / 1e3)

    with reported():
        try:
            # Without --find one run is all there is to it.
            most = uvloop.run(
                find_most(fits, wanted.streams, MAX_STREAMS)
                if wanted.find
                else fits(wanted.streams)
            )
        except (OSError, ContenderError) as error:
            raise click.ClickException(explained(wanted, error)) from error
    click.echo(as_table(runs))
    if wanted.find:
        late = f"before p99 lateness passes {wanted.limit_ms:g} ms"
        click.echo(f"\n{most} streams at {wanted.rate:g}/s fit {late}.")
    if wanted.output:
        found = {
            "model": wanted.model,
            "wire": wanted.wire,
            "limit_seconds": wanted.limit_ms / 1e3,
            "most": most if wanted.find else None,
            "runs": [asdict(run) for run in runs],
        }
        wanted.output.write(json.dumps(found, indent=1) + "\n")
    if all(run.errors and not run.answered for run in runs):
        sys.exit(1)


def explained(wanted: Wanted, error: Exception) -> str:
    """Why nothing can be measured, in one sentence."""
    if (fault := tls_error(str(error), wanted.address)) is not None:
        return str(fault)
    # gRPC keeps the reason to itself.
    hint = hang_up_hint(wanted.tls) if isinstance(error, ContenderError) else ""
    why = getattr(error, "strerror", None) or error
    return f"{wanted.address} cannot be measured: {why}{hint}"


if __name__ == "__main__":
    main()
