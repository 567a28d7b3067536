"""`python -m benchmarks.load`: how many real-time streams a server keeps up with.

Paced, open load on any Open Inference server: cameras whose frames are due 25 times a second, or
streams of tokens that a reader expects 30 times a second; how late do the answers come?

    python -m benchmarks.load frames --streams 8
    python -m benchmarks.load tokens --wire sse --parameter delay=0.03 --rate 30 --find
"""

import json
import ssl
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import click
import uvloop

from clients.address import join_address
from clients.command import reported
from clients.grpc_channel import channel_credentials
from clients.tls import hang_up_hint, tls_error

from .contenders.process import ContenderError
from .inputs.frames import frames as sample_frames
from .inputs.text_prompt import prompt as sample_prompt
from .load_options import MAX_STREAMS, Wanted, load_options
from .loads.pace import Pace, Paced, find_most
from .loads.paced_links import GrpcLink, SseLink
from .loads.paced_load import Link, run_paced
from .loads.paced_requests import as_text, flat_body, grpc_requests, http_request, v2_body
from .report.paced_table import as_table


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
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An image, sent as it is; may be repeated. [default: a 640x480 sample scene]",
)
def frames(wanted: Wanted, files: tuple[Path, ...]) -> None:
    """Streams of frames, each due RATE times a second: cameras, or any other items."""
    elements = [read_file(path) for path in files] or list(sample_frames())
    finish(wanted, lambda: frame_link(wanted, elements))


@main.command()
@load_options(model="text-model", tensor="prompt", rate=30.0, wire="sse")
@click.option("--prompt", help="What to ask. [default: 200 words]")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the prompt.",
)
def tokens(wanted: Wanted, prompt: str | None, file: Path | None) -> None:
    """Streams of tokens, expected RATE times a second from the first token on.

    The wait for the first token is reported by itself. A stream that ends begins again.
    """
    if prompt is not None and file is not None:
        raise click.UsageError("--prompt and --file exclude each other")
    text = read_file(file).decode(errors="replace") if file else prompt or sample_prompt()
    finish(wanted, lambda: token_link(wanted, text))


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from error


def frame_link(wanted: Wanted, elements: list[bytes]) -> Link:
    """One camera."""
    if wanted.wire in ("grpc", "triton"):
        requests = grpc_requests(wanted.model, wanted.input, elements, wanted.parameters)
        return grpc_link(wanted, requests, tokens=False)
    return sse_link(wanted, [http(wanted, element) for element in elements], tokens=False)


def token_link(wanted: Wanted, prompt: str) -> Link:
    """One reader."""
    if wanted.wire in ("grpc", "triton"):
        requests = grpc_requests(wanted.model, wanted.input, [prompt.encode()], wanted.parameters)
        return grpc_link(wanted, requests, tokens=True)
    return sse_link(wanted, [http(wanted, prompt.encode())], tokens=True)


def grpc_link(wanted: Wanted, requests: list[bytes], tokens: bool) -> GrpcLink:
    credentials = None if wanted.tls is None else channel_credentials(wanted.tls)
    return GrpcLink(
        join_address(wanted.host, wanted.port),
        requests,
        wrapped=wanted.wire == "triton",
        tokens=tokens,
        credentials=credentials,
        metadata=wanted.credentials.metadata(),
    )


def sse_link(wanted: Wanted, requests: list[bytes], tokens: bool) -> SseLink:
    context: ssl.SSLContext | None = None if wanted.tls is None else wanted.tls.context()
    return SseLink(wanted.host, wanted.port, requests, tokens, context)


def http(wanted: Wanted, element: bytes) -> bytes:
    text, is_base64 = as_text(element)
    if wanted.wire == "sse":
        body = v2_body(wanted.input, text, is_base64, wanted.parameters)
    else:
        body = flat_body(wanted.input, text, wanted.parameters)
    path = f"/v2/models/{quote(wanted.model, safe='')}/generate_stream"
    address = join_address(wanted.host, wanted.port)
    return http_request(path, address, body, wanted.credentials.headers())


def finish(wanted: Wanted, link: Callable[[], Link]) -> None:
    """Run what is wanted, print the table, write the JSON; exit status 1 where nothing fits."""
    runs: list[Paced] = []

    def run(streams: int) -> bool:
        pace = Pace(streams, wanted.rate, wanted.seconds, min(1.0, wanted.seconds / 2))
        links = [link() for _ in range(streams)]
        runs.append(uvloop.run(run_paced(links, pace, "first")))
        if wanted.find:
            click.echo(f"{streams} streams: p99 {1e3 * runs[-1].late_p99:.1f} ms late", err=True)
        return runs[-1].fits(wanted.limit)

    most: int | None = None
    with reported():
        try:
            if wanted.find:
                most = find_most(run, wanted.streams, MAX_STREAMS)
            else:
                run(wanted.streams)
        except (OSError, ContenderError) as error:
            raise click.ClickException(explained(wanted, error)) from error
    click.echo(as_table(runs))
    if most is not None:
        click.echo(
            f"\n{most} streams at {wanted.rate:g}/s fit before p99 lateness passes "
            f"{wanted.limit_ms:g} ms."
        )
    if wanted.output:
        found = {
            "model": wanted.model,
            "wire": wanted.wire,
            "limit_seconds": wanted.limit,
            "most": most,
            "runs": [asdict(run) for run in runs],
        }
        try:
            Path(wanted.output).write_text(json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise click.ClickException(
                f"{wanted.output} cannot be written: {error.strerror}"
            ) from error
    if all(run.errors and not run.answered for run in runs):
        sys.exit(1)


def explained(wanted: Wanted, error: Exception) -> str:
    """Why nothing can be measured, in one sentence."""
    address = join_address(wanted.host, wanted.port)
    if (fault := tls_error(str(error), address)) is not None:
        return str(fault)
    # gRPC keeps the reason to itself.
    hint = hang_up_hint(wanted.tls) if isinstance(error, ContenderError) else ""
    return f"{address} cannot be measured: {getattr(error, 'strerror', None) or error}{hint}"


if __name__ == "__main__":
    main()
