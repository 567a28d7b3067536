"""Start the service, stream text, a video, a voice and a question through it, stop it: `make demo`.

    python -m clients.demo --video sample

Leaves the video and the service's log in the results folder.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import click

from mlserver_streaming.extras import needed_by
from mlserver_streaming.weights import MissingWeightsError, find_weights

from .command import TIMEOUT_S, option, reported
from .errors import ClientError, RefusedError
from .grpc_client import GrpcTextClient

with needed_by("The demo", "clients", __name__):
    from .http_model import HttpModel
    from .jpeg_stream import JpegStream
    from .server import Server
    from .server_process import HOST, ServiceError
    from .service import Service
    from .speech.audio_source import Clip, read_clip
    from .speech.grpc_speech import GrpcSpeech
    from .speech.mode import Mode
    from .speech.run import Lines, run_mode
    from .sse_client import SseClient
    from .video.frame_source import FrameSource
    from .video.report import VideoReport
    from .video.source import SAMPLE
    from .video.stream_settings import StreamSettings
    from .video.watch import ANNOTATED, COUNTS, WatchReport, watch_video
    from .video_client import run_video

PROMPT = "What is the capital of France?"
# A reading that comes with the weights of speech-model, up to its first pause.
READING, READING_SECONDS = "assets/two_cities.wav", 8.7


@click.command()
@option(
    "--video",
    envvar="CLIENT_VIDEO",
    default=SAMPLE,
    help="A video file, or 'sample': a generated moving scene.",
)
@option(
    "--results-dir",
    envvar="CLIENT_RESULTS_DIR",
    default=Path("results"),
    type=click.Path(path_type=Path),
    help="Folder for the videos, frame_counts.jsonl and server.log.",
)
def main(video: str, results_dir: Path) -> None:
    """Start the service; stream a prompt over SSE and gRPC, a video through two models, and a
    voice that is recognised as it speaks."""
    output, log = results_dir / "output.mp4", results_dir / "server.log"
    report, seen = VideoReport(), WatchReport()
    # Leave the service's `with` block, and so stop it, also when this program is told to end.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with reported(), _log_shown():
        with FrameSource(video):
            # A bad source is told at once, not after the words.
            pass
        click.echo("Starting the service ...")
        began = time.perf_counter()
        with Service(log) as service:
            started = time.perf_counter() - began
            sse = asyncio.run(_stream_sse(service.http))
            grpc = asyncio.run(_stream_grpc(service.grpc))
            click.echo("Video:")
            stream = JpegStream(host=HOST, port=service.grpc)
            with FrameSource(video) as source:
                run_video(source, stream, output, report)
            click.echo("What moves in it:")
            settings = StreamSettings(
                host=HOST, port=service.grpc, model="motion", parameters={"track": True}
            )
            with FrameSource(video) as source:
                watch_video(source, settings, results_dir, seen)
            spoken = asyncio.run(_stream_speech(service.grpc))
            answered = asyncio.run(_stream_answer(service.http))
    click.echo(
        f"""
Summary
  service  ready in {started:.1f} s, log in {log}
  SSE      {sse}
  gRPC     {grpc}
  video    {report}
           {output}
  motion   {seen}
           {results_dir / ANNOTATED}
           {results_dir / COUNTS}
  speech   {spoken}
  answer   {answered}"""
    )


@contextmanager
def _log_shown() -> Iterator[None]:
    """Print the service's last words when it did not start."""
    try:
        yield
    except ServiceError as error:
        for line in error.log_lines:
            click.echo(f"  {line}", err=True)
        raise


async def _stream_sse(port: int) -> str:
    return await _print_words("SSE: ", SseClient(host=HOST, port=port).words(PROMPT))


async def _stream_grpc(port: int) -> str:
    async with GrpcTextClient(host=HOST, port=port) as client:
        return await _print_words("gRPC:", client.words(PROMPT))


async def _stream_speech(port: int) -> str:
    """Print what is said in a reading while it is read, a second in a second; returns a summary."""
    try:
        whole = read_clip(find_weights("Speech", "moonshine-voice", READING))
    except MissingWeightsError as error:
        return str(error)
    # Formats that are read as they come do not mind that the rest of the file is missing.
    size = round(len(whole.data) * READING_SECONDS / whole.seconds)
    clip = Clip("Speech", whole.data[:size], READING_SECONDS)
    async with GrpcSpeech(Server(HOST, port), "speech-model", TIMEOUT_S) as calls:
        mode = Mode(streaming=True, realtime=True)
        report = await run_mode(calls, [clip], mode, Lines([clip.name]))
    if report.errors:
        raise ClientError(f"the reading was not recognised: {report.errors[0]}")
    words, late = len(report.transcripts[0].split()), max(report.finals, default=0.0)
    return f"{words} words, there {late * 1000:.0f} ms after the last sound"


async def _print_words(label: str, words: AsyncIterable[str]) -> str:
    """Print words as they come; returns a summary. Raises ClientError for other words."""
    began = time.perf_counter()
    received: list[str] = []
    click.echo(f"{label} ", nl=False)
    async for word in words:
        received.append(word)
        click.echo(word, nl=False)
    click.echo()
    if "".join(received) != PROMPT:
        raise ClientError(f"the words that came back are not the prompt '{PROMPT}'")
    return f"{len(received)} words in {time.perf_counter() - began:.1f} s"


async def _stream_answer(port: int) -> str:
    """Print the language model's answer to the prompt as it is written; returns a summary."""
    click.echo(f"Question: {PROMPT}\nAnswer:   ", nl=False)
    began, last = time.perf_counter(), {}
    request = {"text_input": PROMPT, "parameters": {"temperature": 0}}
    try:
        async with (
            HttpModel(Server(HOST, port), "language-model", TIMEOUT_S) as model,
            aclosing(model.events("generate_stream", json=request)) as events,
        ):
            async for event in events:
                last = json.loads(event.data)
                click.echo(last["text_output"], nl=False)
    except RefusedError as error:  # its weights are not installed
        return str(error)
    finally:
        click.echo()
    tokens = last.get("completion_tokens", "no")
    return f"{tokens} tokens in {time.perf_counter() - began:.1f} s"


if __name__ == "__main__":
    main()
