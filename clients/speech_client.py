"""Recognise speech through the service: files, folders, a manifest, standard input, a microphone.

python -m clients.speech_client recording.wav
python -m clients.speech_client --protocol grpc --streaming --realtime recording.wav
python -m clients.speech_client --manifest manifest.jsonl --all-modes
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import click

from mlserver_streaming.extras import needed_by

from .command import GRPC_PORT, REST_PORT, TIMEOUT_S, option, reported
from .errors import ClientError, RefusedError, ResultError

with needed_by("The speech client", "clients", __name__):
    from .speech.audio_source import (
        CHUNK_SECONDS,
        MICROPHONE_RATE,
        Clip,
        find_clips,
        microphone,
        paced,
        standard_input,
    )
    from .speech.calls import GrpcSpeech, Heard, HttpSpeech, SpeechCalls
    from .speech.report import SpeechReport, table

MICROPHONE, STDIN = "microphone", "-"
# Requests, or streams, that --async has open at once.
AT_ONCE = 8


@dataclass(frozen=True)
class Mode:
    """How recordings are sent."""

    protocol: str = "grpc"
    at_once: bool = False
    streaming: bool = False
    batch_size: int = 1
    realtime: bool = False

    def check(self, source: str | None = None) -> None:
        """Raises click.UsageError for switches that do not go together."""
        live = source == MICROPHONE
        if self.protocol == "http" and self.streaming and self.batch_size > 1:
            raise click.UsageError(
                "over HTTP a stream is one request with one recording: leave --batch-size at 1, "
                "or take --protocol grpc"
            )
        if self.realtime and not (self.streaming and self.protocol == "grpc"):
            raise click.UsageError(
                "--realtime sends chunks as they are spoken, which needs --streaming and "
                "--protocol grpc"
            )
        if live and not (self.streaming and self.protocol == "grpc"):
            raise click.UsageError("a microphone needs --streaming and --protocol grpc")
        if source is not None and (self.batch_size > 1 or self.at_once or self.realtime):
            name = "a microphone" if live else "standard input"
            raise click.UsageError(
                f"{name} is one recording at its own pace: --batch-size, --async and --realtime "
                "do not go with it"
            )

    def __str__(self) -> str:
        words = [self.protocol, "streaming" if self.streaming else "unary"]
        words += ["async"] if self.at_once else []
        words += ["realtime"] if self.realtime else []
        return " ".join(words) + f", batch {self.batch_size}"


def every_mode() -> list[Mode]:
    """Every combination of the four switches that makes sense, with batches of 1 and 4."""
    return [
        Mode(protocol, at_once, streaming, size)
        for protocol in ("grpc", "http")
        for streaming in (False, True)
        for at_once in (False, True)
        for size in (1, 4)
        if not (protocol == "http" and streaming and size > 1)
    ]


class Lines:
    """Partials in place, finals as lines; partials only on a terminal and one recording at once."""

    def __init__(self, names: Sequence[str], quiet: bool = False) -> None:
        self._names = names
        self._quiet = quiet
        self._in_place = sys.stdout.isatty()

    def show(self, index: int, text: str, final: bool) -> None:
        if self._quiet or not (final or self._in_place):
            return
        start = "\r\x1b[K" if self._in_place else ""
        name = self._names[index]
        click.echo(f"{start}{name}: {text}", nl=final)


async def run_mode(
    calls: SpeechCalls, clips: Sequence[Clip], mode: Mode, lines: Lines | None = None
) -> SpeechReport:
    """Recognise all recordings. A recording that fails alone is an error in the report."""
    report = SpeechReport(str(mode))
    lines = lines or Lines([], quiet=True)
    room = asyncio.Semaphore(AT_ONCE if mode.at_once else 1)
    work = _stream if mode.streaming else _infer
    began = time.perf_counter()

    async def run(first: int) -> None:
        async with room:
            batch = dict(list(enumerate(clips))[first : first + mode.batch_size])
            await work(calls, batch, mode, report, lines)

    try:
        async with asyncio.TaskGroup() as tasks:
            for first in range(0, len(clips), mode.batch_size):
                tasks.create_task(run(first))
    except* ClientError as group:
        raise group.exceptions[0] from None
    report.seconds = time.perf_counter() - began
    return report


async def _infer(
    calls: SpeechCalls, batch: dict[int, Clip], mode: Mode, report: SpeechReport, lines: Lines
) -> None:
    sent = time.perf_counter()
    try:
        texts = await calls.infer([clip.data for clip in batch.values()])
    except RefusedError as error:
        report.errors |= dict.fromkeys(batch, str(error))
        return
    report.finals.append(time.perf_counter() - sent)
    for index, text in zip(batch, texts, strict=True):
        report.add(index, text)
        lines.show(index, text, final=True)


async def _stream(
    calls: SpeechCalls, batch: dict[int, Clip], mode: Mode, report: SpeechReport, lines: Lines
) -> None:
    indices = list(batch)
    pace = CHUNK_SECONDS if mode.realtime else 0.0
    sources = [paced(clip.chunks(), pace) for clip in batch.values()]
    try:
        async with aclosing(calls.stream(sources)) as heard:
            async for each in heard:
                _take(each, indices[each.recording], report, lines)
    except RefusedError as error:
        report.errors |= dict.fromkeys(batch, str(error))
    for index in indices:
        report.transcripts.setdefault(index, "")


def _take(heard: Heard, index: int, report: SpeechReport, lines: Lines) -> None:
    if heard.error is not None:
        report.errors[index] = str(heard.error)
        return
    (report.finals if heard.final else report.partials).append(heard.latency)
    lines.show(index, heard.text, heard.final)
    if heard.final:
        report.add(index, heard.text)


async def _listen(
    calls: SpeechCalls, chunks: AsyncIterable[bytes], sample_rate: int | None, lines: Lines
) -> None:
    async with aclosing(calls.stream([chunks], sample_rate)) as heard:
        async for each in heard:
            if each.error is not None:
                raise each.error
            lines.show(0, each.text, each.final)


@click.command()
@click.argument("sources", nargs=-1, metavar="[FILE|FOLDER|microphone|-]...")
@option("--host", envvar="CLIENT_HOST", default="127.0.0.1", help="Host of the server.")
@option("--port", envvar="CLIENT_PORT", type=click.IntRange(1, 65535), help="Its port.")
@option("--model", envvar="CLIENT_MODEL", default="speech-model", help="Name of the model.")
@option(
    "--timeout",
    envvar="CLIENT_TIMEOUT",
    default=TIMEOUT_S * 4,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds to wait for each response.",
)
@option("--protocol", envvar="CLIENT_PROTOCOL", default="grpc", type=click.Choice(["grpc", "http"]))
@option("--async", "at_once", is_flag=True, help="Do not wait for one request before the next.")
@option("--streaming", is_flag=True, help="Send chunks, show words as they are recognised.")
@option(
    "--batch-size",
    default=1,
    type=click.IntRange(1, 8),
    help="Recordings in a request, or at once on a stream.",
)
@option("--realtime", is_flag=True, help="Send chunks at the speed of speech.")
@option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="JSON lines with audio_filepath and text; the word error rate is told.",
)
@option("--all-modes", is_flag=True, help="Run in every mode that makes sense, and compare.")
@option("--seconds", type=click.FloatRange(min=0), help="Stop a microphone after so long.")
@option("--output", type=click.Path(path_type=Path), help="Write the results as JSON lines.")
def main(
    sources: tuple[str, ...],
    host: str,
    port: int | None,
    model: str,
    timeout: float,
    protocol: str,
    at_once: bool,
    streaming: bool,
    batch_size: int,
    realtime: bool,
    manifest: Path | None,
    all_modes: bool,
    seconds: float | None,
    output: Path | None,
) -> None:
    """Recognise recordings, a microphone or standard input (-) and print what was said."""
    live = [source for source in sources if source in (MICROPHONE, STDIN)]
    mode = Mode(protocol, at_once, streaming, batch_size, realtime)
    if not sources and manifest is None:
        raise click.UsageError("name a file, a folder, 'microphone', '-' or a --manifest")
    if live and (len(sources) > 1 or manifest is not None or all_modes):
        raise click.UsageError(f"'{live[0]}' goes alone")
    mode.check(live[0] if live else None)
    if port is not None and all_modes:
        raise click.UsageError("--all-modes needs both protocols' own ports; leave --port out")
    modes = every_mode() if all_modes else [mode]
    server = Server(host, port, model, timeout)
    with reported():
        if live:
            asyncio.run(_run_live(server, mode, live[0], seconds))
            return
        clips = find_clips([Path(source) for source in sources], manifest)
        reports = asyncio.run(_run(server, modes, clips))
        click.echo(table(reports, clips))
        if output is not None:
            _write(output, reports, clips)
    if any(report.errors for report in reports):
        raise SystemExit(1)


@dataclass(frozen=True)
class Server:
    """Where the model is; without a port, the protocol's own."""

    host: str
    port: int | None
    model: str
    timeout: float

    def calls(self, protocol: str) -> GrpcSpeech | HttpSpeech:
        """A client of it."""
        grpc = protocol == "grpc"
        return (GrpcSpeech if grpc else HttpSpeech)(
            host=self.host,
            port=self.port or (GRPC_PORT if grpc else REST_PORT),
            model=self.model,
            timeout=self.timeout,
        )


async def _run_live(server: Server, mode: Mode, source: str, seconds: float | None) -> None:
    chunks = microphone(seconds) if source == MICROPHONE else standard_input()
    rate = MICROPHONE_RATE if source == MICROPHONE else None
    lines = Lines([source])
    async with server.calls(mode.protocol) as calls:
        if mode.streaming:
            await _listen(calls, chunks, rate, lines)
            return
        data = b"".join([chunk async for chunk in chunks])
        lines.show(0, (await calls.infer([data]))[0], final=True)


async def _run(server: Server, modes: Sequence[Mode], clips: list[Clip]) -> list[SpeechReport]:
    reports: list[SpeechReport] = []
    for mode in modes:
        lines = Lines([clip.name for clip in clips], quiet=bool(reports))
        async with server.calls(mode.protocol) as calls:
            report = await run_mode(calls, clips, mode, lines)
        for index, error in report.errors.items():
            click.echo(f"Error: {clips[index].name}: {error}", err=True)
        if reports and report.transcripts != reports[0].transcripts:
            click.echo(f"{mode}: other transcripts than {reports[0].mode}", err=True)
        reports.append(report)
    return reports


def _write(path: Path, reports: Sequence[SpeechReport], clips: list[Clip]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [line for report in reports for line in report.lines(clips)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise ResultError(f"{path} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    main()
