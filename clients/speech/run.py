"""Recordings through a speech model in one mode, and what is shown meanwhile."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterable, Sequence
from contextlib import aclosing

import click

from ..errors import ClientError, RefusedError, StreamCutError
from ..lasting_source import LastingSource
from ..retries import Retries
from .audio_source import CHUNK_SECONDS, Clip, paced
from .heard import Heard, SpeechCalls
from .mode import Mode
from .report import SpeechReport

# Requests, or streams, that --async has open at once.
AT_ONCE = 8
# A sound that is being made can only be lost: for some 20 s a server that went away is tried again.
LIVE_TRIES = 8


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
    except (RefusedError, StreamCutError) as error:
        report.errors |= dict.fromkeys(batch, str(error))
        return
    report.finals.append(time.perf_counter() - sent)
    for index, text in zip(batch, texts, strict=True):
        report.add(index, text)
        lines.show(index, text, final=True)


async def _stream(
    calls: SpeechCalls, batch: dict[int, Clip], mode: Mode, report: SpeechReport, lines: Lines
) -> None:
    indices, retries, answered = list(batch), Retries(), False
    pace = CHUNK_SECONDS if mode.realtime else 0.0
    while True:
        sources = [paced(clip.chunks(), pace) for clip in batch.values()]
        try:
            async with aclosing(calls.stream(sources)) as heard:
                async for each in heard:
                    answered = True
                    _take(each, indices[each.recording], report, lines)
            break
        except ClientError as error:
            try:
                if answered:
                    raise
                await retries.after(error)
            except (RefusedError, StreamCutError):
                report.errors |= dict.fromkeys(batch, str(error))
                break
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


async def listen(
    calls: SpeechCalls, chunks: AsyncIterable[bytes], sample_rate: int | None, lines: Lines
) -> None:
    """Recognise one recording as it comes; where the server goes away, the next one hears what is
    said from then on. Raises what `calls` raises."""
    source, retries = LastingSource(chunks), Retries(tries=LIVE_TRIES)
    async with aclosing(source):
        while True:
            try:
                async with aclosing(calls.stream([source], sample_rate)) as heard:
                    async for each in heard:
                        retries.restart()
                        if each.error is not None:
                            raise each.error
                        lines.show(0, each.text, each.final)
                return
            except ClientError as error:
                if source.is_over:
                    raise
                await retries.after(error)
                click.echo(f"{error}; what was said since the last line is lost", err=True)
