"""Recognise speech through the service: files, folders, a manifest, standard input, a microphone.

python -m clients.speech_client recording.wav
python -m clients.speech_client --protocol grpc --streaming --realtime recording.wav
python -m clients.speech_client --manifest manifest.jsonl --all-modes
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from mlserver_streaming.extras import needed_by

from .command import GRPC_PORT, REST_PORT, TIMEOUT_S, option, reported, server_options
from .credentials import Credentials
from .errors import ResultError
from .server import Server
from .tls import Tls

with needed_by("The speech client", "clients", __name__):
    from .speech.audio_source import (
        MICROPHONE_RATE,
        Clip,
        find_clips,
        microphone,
        standard_input,
    )
    from .speech.grpc_speech import GrpcSpeech
    from .speech.http_speech import HttpSpeech
    from .speech.mode import MICROPHONE, STDIN, Mode, every_mode
    from .speech.report import SpeechReport, table
    from .speech.run import Lines, listen, run_mode

PORTS = {"grpc": GRPC_PORT, "http": REST_PORT}
Calls = Callable[[str], GrpcSpeech | HttpSpeech]


@click.command()
@click.argument("sources", nargs=-1, metavar="[FILE|FOLDER|microphone|-]...")
@server_options(port=PORTS, model="speech-model", timeout=TIMEOUT_S * 4)
@option(
    "--protocol",
    envvar="CLIENT_PROTOCOL",
    default="grpc",
    type=click.Choice(list(PORTS)),
    help="How to speak to the server.",
)
@option(
    "--async",
    "at_once",
    envvar="CLIENT_ASYNC",
    is_flag=True,
    help="Do not wait for one request before the next.",
)
@option(
    "--streaming",
    envvar="CLIENT_STREAMING",
    is_flag=True,
    help="Send chunks, show words as they are recognised.",
)
@option(
    "--batch-size",
    envvar="CLIENT_BATCH_SIZE",
    default=1,
    type=click.IntRange(1, 8),
    help="Recordings in a request, or at once on a stream.",
)
@option(
    "--realtime",
    envvar="CLIENT_REALTIME",
    is_flag=True,
    help="Send chunks at the speed of speech.",
)
@option(
    "--manifest",
    envvar="CLIENT_MANIFEST",
    type=click.Path(path_type=Path),
    help="JSON lines with audio_filepath and text; the word error rate is told.",
)
@option(
    "--all-modes",
    envvar="CLIENT_ALL_MODES",
    is_flag=True,
    help="Run in every mode that makes sense, and compare.",
)
@option(
    "--seconds",
    envvar="CLIENT_SECONDS",
    type=click.FloatRange(min=0),
    help="Stop a microphone after so long.",
)
@option(
    "--output",
    envvar="CLIENT_OUTPUT",
    type=click.Path(path_type=Path),
    help="Write the results as JSON lines.",
)
def main(
    sources: tuple[str, ...],
    host: str,
    port: int | None,
    model: str,
    timeout: float,
    tls: Tls | None,
    credentials: Credentials,
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

    def calls(protocol: str) -> GrpcSpeech | HttpSpeech:
        server = Server(host, port or PORTS[protocol], tls, credentials)
        return (GrpcSpeech if protocol == "grpc" else HttpSpeech)(server, model, timeout)

    with reported():
        if live:
            asyncio.run(_run_live(calls, mode, live[0], seconds))
            return
        clips = find_clips([Path(source) for source in sources], manifest)
        reports = asyncio.run(_run(calls, modes, clips))
        click.echo(table(reports, clips))
        if output is not None:
            _write(output, reports, clips)
    if any(report.errors for report in reports):
        raise SystemExit(1)


async def _run_live(open_calls: Calls, mode: Mode, source: str, seconds: float | None) -> None:
    chunks = microphone(seconds) if source == MICROPHONE else standard_input()
    rate = MICROPHONE_RATE if source == MICROPHONE else None
    lines = Lines([source])
    async with open_calls(mode.protocol) as calls:
        if mode.streaming:
            await listen(calls, chunks, rate, lines)
            return
        data = b"".join([chunk async for chunk in chunks])
        lines.show(0, (await calls.infer([data]))[0], final=True)


async def _run(open_calls: Calls, modes: Sequence[Mode], clips: list[Clip]) -> list[SpeechReport]:
    reports: list[SpeechReport] = []
    for mode in modes:
        lines = Lines([clip.name for clip in clips], quiet=bool(reports))
        async with open_calls(mode.protocol) as calls:
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
