"""What a service takes by itself: how long until it is ready, the memory that it then holds, and of
each of a thousand streams that say one thing a second. Client and service share the machine.

A service of its own for each window: memory that one run has left free would serve the next.
"""

import asyncio
import ssl
import time
from functools import partial
from itertools import count
from typing import Any

from clients.server_process import HOST
from tests.certificates import Authority

from ..contenders.contenders import OURS, STOCK, ours, stock
from ..contenders.peer_servers import Start
from ..contenders.process import Contender, cpu_seconds, memory
from ..inputs.text_prompt import v2_body
from ..loads.http_wire import HttpWire, post
from ..loads.load_process import AnswerError
from ..loads.samples import Sample, Target
from .measured import Case, Plan, Row, measured

ALL, NONE = f"{OURS}, all models", f"{STOCK}, no model"
READY, MEMORY, MEMORY_KIB = "ready_ms", "memory_mib", "kib_a_stream"
STREAMS = 1000
# What the first streams of a service load is not the others'.
WARM = 20
PERIOD_SECONDS, WATCHED_SECONDS = 1.0, 5.0
REQUEST = post("/v2/models/ticker/generate_stream", v2_body(f"{1 / PERIOD_SECONDS:g} 1000000"))
NUMBERS = count()


def start(plan: Plan) -> list[Row]:
    """All models of the repository, beside stock with none."""
    calls = {
        ALL: (until_ready, partial(ours, everything=True), plan),
        NONE: (until_ready, stock, plan),
    }
    targets = (
        Target(NONE, at_most=1.3, figure=READY, of=ALL),
        Target(NONE, figure=MEMORY, of=ALL),
    )
    case = Case("start to ready", "start", calls, targets, ALL)
    return measured(plan, {}, [case], shared=True)


def until_ready(seconds: float, start: Start, plan: Plan) -> Sample:
    """From its start until it answers that it is ready; `seconds` are as many as it takes."""
    contender = start(plan.folder / f"start-{next(NUMBERS)}", plan.all_cores)
    begun = time.perf_counter()
    with contender:
        ready = time.perf_counter() - begun
        return Sample({READY: 1e3 * ready, MEMORY: memory(contender.process.pid)})


def idle(plan: Plan) -> list[Row]:
    """Plain, and over TLS."""
    target = Target("", at_most=64, figure=MEMORY_KIB)
    cases = [
        Case(
            f"idle, {STREAMS} streams, {name}",
            "event",
            {OURS: (held, plan, tls)},
            [target],
            windows=3,
        )
        for name, tls in (("plain", False), ("TLS", True))
    ]
    return measured(plan, {}, cases, shared=True)


def held(seconds: float, plan: Plan, secured: bool) -> Sample:
    """Of so many streams; `seconds` are as many as it takes."""
    folder, streams = plan.folder / f"idle-{next(NUMBERS)}", min(STREAMS, 16 * plan.most_streams)
    streaming: dict[str, Any] = {"limits": {"streams": streams + WARM}}
    context = None
    folder.mkdir()
    if secured:
        authority = Authority()
        files = map(str, authority.server().write(folder, "server"))
        streaming["tls"] = dict(zip(("certificate", "key"), files, strict=True))
        context = ssl.create_default_context(cadata=authority.pem.decode())
    with ours(folder, plan.all_cores, "ticker", streaming=streaming) as service:
        return asyncio.run(watched(service, context, streams))


async def watched(service: Contender, tls: ssl.SSLContext | None, streams: int) -> Sample:
    """Open the streams, which begin spread over a period, and look on."""
    wires, asking = list[HttpWire](), list[asyncio.Task[int]]()

    async def open_more(count: int) -> None:
        for _ in range(count):
            wires.append(HttpWire(HOST, service.http, tls))
            await wires[-1].open()
            asking.append(asyncio.create_task(wires[-1].ask(REQUEST)))
            await asyncio.sleep(PERIOD_SECONDS / count)
        await asyncio.sleep(3 * PERIOD_SECONDS)

    await open_more(WARM)
    base = memory(pid := service.process.pid)
    await open_more(streams)
    before, begun = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(WATCHED_SECONDS)
    used, took = cpu_seconds(pid) - before, time.perf_counter() - begun
    taken = memory(pid) - base
    if any(each.done() for each in asking) or not all(each.size for each in wires):
        raise AnswerError("a stream has ended, or not begun")
    for each in wires:
        await each.close()
    await asyncio.gather(*asking, return_exceptions=True)  # each was hung up
    return Sample(
        {
            MEMORY_KIB: 1024 * taken / streams,
            MEMORY: base,
            "server_cpu_percent": 100 * used / took,
        }
    )
