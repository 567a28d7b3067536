"""`python -m benchmarks.speech MANIFEST`: how well and how fast speech-model recognises.

Starts the service with one engine after the other and measures, on the recordings of a manifest
(JSON lines with audio_filepath and text): the word error rate, unary and streamed; two live
microphones at the speed of speech; batches of 8 beside one by one; and the memory of the service
and its processes after all of it. The load generator runs beside the service on the same cores.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import statistics
import tempfile
import time
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import click
import numpy as np

from clients.server import Server
from clients.server_process import HOST
from clients.speech.audio_source import Clip, find_clips
from clients.speech.grpc_speech import GrpcSpeech
from clients.speech.mode import Mode
from clients.speech.run import run_mode

from .contenders.contenders import change_model, ours
from .contenders.process import memory
from .report import machine

RATE, CHUNK = 16_000, 1600
SILENCE_SECONDS = 1.0
MICROPHONES = 2
BATCH = 8
ASKED = {
    "WER unary": "<= 0.04",
    "WER streamed": "the same words",
    "partials p95 ms": "<= 300",
    "finals p95 ms": "<= 400",
    "batch of 8 / one by one": ">= 1.7",
}


@click.command()
@click.argument("manifest", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--engine",
    "engines",
    multiple=True,
    default=("moonshine", "pocketsphinx"),
    show_default=True,
    help="What hears; may be given again.",
)
@click.option("--rounds", default=3, show_default=True, help="Of the batches.")
@click.option("--cores", default=2, show_default=True, help="Cores for everything.")
def main(manifest: Path, engines: tuple[str, ...], rounds: int, cores: int) -> None:
    """Measure speech-model on the recordings of MANIFEST."""
    clips = find_clips([], manifest)
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
    found = [_heard_by(engine, clips, rounds) for engine in engines]
    for name, value in machine.describe().items():
        click.echo(f"{name}: {value}")
    click.echo(f"\n{'figure':30}{''.join(f'{engine:>22}' for engine in engines)}   asked")
    for name in found[0]:
        measured = "".join(f"{each[name]:>22}" for each in found)
        click.echo(f"{name:30}{measured}   {ASKED.get(name, '')}")


def _heard_by(engine: str, clips: list[Clip], rounds: int) -> dict[str, str]:
    """The figures of a service with this engine."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        contender = ours(Path(folder), os.sched_getaffinity(0))
        change_model(Path(folder), "speech-model", engine=engine)
        with contender as service:
            before = memory(service.process.pid)
            found = asyncio.run(_measure(service.grpc, clips, rounds))
            after = memory(service.process.pid)
            found["memory MiB, first and last"] = f"{before:.0f}, {after:.0f}"
    return found


async def _measure(port: int, clips: list[Clip], rounds: int) -> dict[str, str]:
    found: dict[str, str] = {}
    async with GrpcSpeech(Server(HOST, port), "speech-model", 300) as calls:
        data = [clip.data for clip in clips]
        await calls.infer(data[:2])  # the processes start
        unary = await run_mode(calls, clips, Mode())
        streamed = await run_mode(calls, clips, Mode(streaming=True))
        shuffled = clips * 2
        random.Random(0).shuffle(shuffled)
        beside = await run_mode(calls, shuffled, Mode(streaming=True, batch_size=4))
        found["WER unary"] = f"{unary.word_error_rate(clips):.3f}"
        found["WER streamed"] = f"{streamed.word_error_rate(clips):.3f}"
        texts = {clip.name: unary.transcripts[i] for i, clip in enumerate(clips)}
        same = unary.transcripts == streamed.transcripts and all(
            texts[clip.name] == beside.transcripts[i] for i, clip in enumerate(shuffled)
        )
        found["same words every time"] = "yes" if same else "NO"
        found["real-time factor, unary"] = f"{unary.seconds / sum(c.seconds for c in clips):.2f}"
        found |= await _microphones(calls, clips)
        found |= await _batches(calls, data, rounds)
    return found


async def _microphones(calls: GrpcSpeech, clips: list[Clip]) -> dict[str, str]:
    """Two voices at once, a second of silence after each recording."""
    partials: list[float] = []
    after_pause: list[float] = []
    after_voice: list[float] = []

    async def listen(order: Sequence[Clip]) -> None:
        sound = np.concatenate([_samples(clip) for clip in order]).tobytes()
        began = 0.0

        async def spoken() -> AsyncIterator[bytes]:
            nonlocal began
            began = time.perf_counter()
            for number, at in enumerate(range(0, len(sound), 2 * CHUNK), 1):
                due = began + number * CHUNK / RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                yield sound[at : at + 2 * CHUNK]

        async with aclosing(calls.stream([spoken()], RATE)) as heard:
            async for each in heard:
                if each.final:
                    after_pause.append(each.latency)
                    after_voice.append(time.perf_counter() - began - each.end)
                else:
                    partials.append(each.latency)

    orders = [clips, clips[::-1]][:MICROPHONES]
    await asyncio.gather(*(listen(order) for order in orders))
    return {
        "partials p50 ms": _percentile(partials, 50),
        "partials p95 ms": _percentile(partials, 95),
        "finals p50 ms": _percentile(after_pause, 50),
        "finals p95 ms": _percentile(after_pause, 95),
        "finals after the voice p95 ms": _percentile(after_voice, 95),
        "partials, finals": f"{len(partials)}, {len(after_pause)}",
    }


async def _batches(calls: GrpcSpeech, data: list[bytes], rounds: int) -> dict[str, str]:
    """Eight recordings in one request beside eight requests, in turn."""
    eight = (data * BATCH)[:BATCH]
    ratios = []
    for _ in range(rounds):
        began = time.perf_counter()
        for each in eight:
            await calls.infer([each])
        between = time.perf_counter()
        await calls.infer(eight)
        ratios.append((between - began) / (time.perf_counter() - between))
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    return {"batch of 8 / one by one": spread}


def _samples(clip: Clip) -> np.ndarray:
    with wave.open(io.BytesIO(clip.data)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise click.UsageError(f"{clip.name} is not 16 kHz, mono, 16 bit")
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return np.concatenate([samples, np.zeros(int(SILENCE_SECONDS * RATE), np.int16)])


def _percentile(seconds: list[float], percent: int) -> str:
    return f"{np.percentile(seconds, percent) * 1000:.0f}" if seconds else "none"


if __name__ == "__main__":
    main()
