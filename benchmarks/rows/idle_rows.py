"""What a thousand streams cost that say one thing a second: the memory of each beyond the service's
own, the share of a core, and how late events come. Client and service share the machine."""

import asyncio
import ssl
import time
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from typing import Any

from tests.certificates import Authority

from ..contenders.contenders import OURS, ours
from ..contenders.process import Contender, memory, usage
from ..inputs.text_prompt import v2_body
from ..loads.http_wire import JSON, HttpWire, post
from ..loads.load_process import AnswerError
from ..loads.samples import Sample, Target, percentile
from .measured import Case, Plan, Row, measured

# The streams begin spread over one period, as clients do; all at once is another case.
PERIOD_SECONDS = 1.0
STREAMS, MEMORY_KIB = 1000, "kib_a_stream"
# What the first streams of a service load is not the others'.
WARM = 20
# Of the windows of other rows: late events come seldom.
WINDOWS = 30
NUMBERS = count()
BODY = v2_body(f"{1 / PERIOD_SECONDS:g} 1000000")


class IdleWire(HttpWire):
    """Notes when bytes come. Compressed events cannot be told apart; what comes together is one."""

    def data_received(self, data: bytes) -> None:
        self.times.append(time.perf_counter())
        super().data_received(data)

    async def begin(self, encoding: str) -> None:
        """Ask, after which the answer goes on and on."""
        self.times: list[float] = []
        await self.open()
        headers = {"Accept-Encoding": encoding}
        request = post("/v2/models/ticker/generate_stream", BODY, JSON, headers)
        self.asking = asyncio.create_task(self.ask(request))

    async def close(self) -> None:
        await super().close()
        with suppress(AnswerError):  # it was hung up
            await self.asking


def idle(plan: Plan) -> list[Row]:
    """Plain and over TLS, compressed and not, that begin spread or all at once."""
    cases = [
        Case(
            f"idle, {STREAMS} streams, {name}, {encoding}, {begin}",
            "event",
            {OURS: (one_event_a_second, plan, name == "TLS", encoding, begin == "at once")},
            [Target("", at_most=64, figure=MEMORY_KIB)],
        )
        for name in ("plain", "TLS")
        for encoding in ("identity", "gzip")
        for begin in ("spread", "at once")
    ]
    return measured(plan, {}, cases, shared=True)


def one_event_a_second(
    seconds: float, plan: Plan, secured: bool, encoding: str, at_once: bool
) -> Sample:
    """A service of its own for each: memory that one run has left free would serve the next."""
    folder, streams = plan.folder / f"idle-{next(NUMBERS)}", min(STREAMS, 16 * plan.most_streams)
    streaming: dict[str, Any] = {"limits": {"streams": streams + 2 * WARM}}
    context = None
    folder.mkdir()
    if secured:
        authority = Authority()
        files = map(str, authority.server().write(folder, "server"))
        streaming["tls"] = dict(zip(("certificate", "key"), files, strict=True))
        context = ssl.create_default_context(cadata=authority.pem.decode())
    with ours(folder, plan.all_cores, "ticker", streaming=streaming) as service:
        wire = partial(IdleWire, "127.0.0.1", service.http, context)
        spread = 0 if at_once else PERIOD_SECONDS
        return asyncio.run(watch(service, wire, streams, WINDOWS * seconds, encoding, spread))


async def watch(
    service: Contender,
    wire: partial[IdleWire],
    count: int,
    seconds: float,
    encoding: str,
    spread: float,
) -> Sample:
    """Memory of each stream, and how late its events are."""

    async def opened(streams: int, spread: float) -> list[IdleWire]:
        found = [wire() for _ in range(streams)]
        for each in found:
            await each.begin(encoding)
            await asyncio.sleep(spread / streams)
        await asyncio.sleep(2 * PERIOD_SECONDS + 1)
        return found

    pid, warm = service.process.pid, await opened(WARM, 0)
    base = memory(pid)
    wires = await opened(count, spread)
    if not all(each.times for each in wires):
        raise AnswerError("a stream has not begun")
    for each in wires:
        each.times.clear()
    before, begun = usage(pid), time.perf_counter()
    await asyncio.sleep(max(2 * PERIOD_SECONDS, seconds))
    used, took = usage(pid).since(before), time.perf_counter() - begun
    taken = memory(pid) - base
    late = [
        1e3 * max(0.0, later - earlier - PERIOD_SECONDS)
        for each in wires
        for earlier, later in pairwise(each.times)
    ]
    for each in [*wires, *warm]:
        await each.close()
    return Sample(
        {
            MEMORY_KIB: 1024 * taken / count,
            "memory_mib": base,
            "late_p50_ms": percentile(late, 50),
            "late_p99_ms": percentile(late, 99),
            "server_cpu_percent": 100 * used.cpu_seconds / took,
        }
    )
