"""What a thousand streams cost that say one thing a second: `python -m benchmarks.idle_streams`.

Prints the resident memory of each stream beyond the service's own, the share of a core, and how
late events come. Client and service share the machine.
"""

import asyncio
import ssl
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from tests.certificates import Authority

from .contenders.contenders import ours
from .contenders.process import Contender, resident, usage
from .inputs.text_prompt import v2_body
from .loads.event_stream import JSON, EventStream, post
from .loads.load_process import AnswerError
from .report.machine import describe

KIB = 1024
# The streams begin spread over one period, as clients do; all at once is another case.
PERIOD_SECONDS = 1.0
MEMORY_TARGET = 64 * KIB
# What the first streams of a service load is not the others'.
WARM = 20


async def open_streams(
    port: int, tls: ssl.SSLContext | None, encoding: str, pauses: list[float]
) -> tuple[AsyncExitStack, list[list[float]]]:
    """Streams that begin after a pause each: what ends them, and when each of their events came."""
    request = post(
        "/v2/models/ticker/generate_stream",
        v2_body(f"{1 / PERIOD_SECONDS:g} 1000000"),
        JSON,
        {"Accept-Encoding": encoding},
    )
    streams = [await EventStream.connect("127.0.0.1", port, tls) for _ in pauses]
    times: list[list[float]] = [[] for _ in streams]
    stack = AsyncExitStack()
    begun = time.perf_counter()
    for stream, pause, seen in zip(streams, pauses, times, strict=True):
        await asyncio.sleep(begun + pause - time.perf_counter())
        # Compressed events cannot be told apart; what comes together is one, a second.
        stream.on_data = lambda seen=seen: seen.append(time.perf_counter())  # type: ignore[misc]
        asking = asyncio.create_task(stream.ask(request))
        stack.push_async_callback(ended, asking)
        stack.callback(stream.close)
    await asyncio.sleep(2 * PERIOD_SECONDS + 1)
    return stack, times


async def ended(asking: "asyncio.Task[bytes]") -> None:
    with suppress(AnswerError):  # it was hung up
        await asking


async def measure(
    service: Contender,
    tls: ssl.SSLContext | None,
    gzip: bool,
    count: int,
    seconds: float,
    at_once: bool,
) -> bool:
    """Print one line of figures; whether the memory is within the target."""
    pid, encoding = service.process.pid, "gzip" if gzip else "identity"
    warm, _ = await open_streams(service.http, tls, encoding, [0.0] * WARM)
    base = resident(pid)
    pauses = [0.0 if at_once else PERIOD_SECONDS * index / count for index in range(count)]
    opened, times = await open_streams(service.http, tls, encoding, pauses)
    if not all(times):
        raise click.ClickException("a stream has not begun")
    for seen in times:
        seen.clear()
    before, begun = usage(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    used = usage(pid).since(before).cpu_seconds / (time.perf_counter() - begun)
    each = (resident(pid) - base) / count
    await opened.aclose()
    await warm.aclose()
    late = [
        max(0.0, later - earlier - PERIOD_SECONDS)
        for seen in times
        for earlier, later in pairwise(seen)
    ]
    p50, p99 = statistics.median(late), statistics.quantiles(late, n=100)[98]
    fits = each <= MEMORY_TARGET
    click.echo(
        f"{'TLS' if tls else 'plain':5}  {encoding:8}  {'at once' if at_once else 'spread':7}  "
        f"{count} streams  {len(late)} events  {each / KIB:.1f} KiB a stream beyond "
        f"{base / KIB / KIB:.0f} MiB  CPU {used:.0%} of a core  late p50 {p50 * 1e3:.1f} ms  "
        f"p99 {p99 * 1e3:.1f} ms  max {max(late) * 1e3:.1f} ms  "
        f"{'within' if fits else 'PAST'} the target"
    )
    return fits


@click.command()
@click.option("--streams", default=1000, show_default=True)
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--tls", "secured", is_flag=True, help="Only over TLS; left out: only without.")
def main(streams: int, seconds: float, secured: bool) -> None:
    """Streams of one event a second, compressed and not, that begin spread or all at once."""
    click.echo(", ".join(f"{name} {value}" for name, value in describe().items()))
    fitting = []
    for gzip in (False, True):
        for at_once in (False, True):
            # A service of its own for each: memory that one run has left free would serve the next.
            with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
                settings: dict[str, Any] = {"limits": {"streams": streams + 2 * WARM}}
                context = None
                if secured:
                    authority = Authority()
                    files = map(str, authority.server().write(Path(scratch), "server"))
                    settings["tls"] = dict(zip(("certificate", "key"), files, strict=True))
                    context = ssl.create_default_context(cadata=authority.pem.decode())
                folder = Path(scratch) / "service"
                folder.mkdir()
                every = set(range(1024))
                with ours(folder, every, "ticker", streaming=settings) as service:
                    window = measure(service, context, gzip, streams, seconds, at_once)
                    fitting.append(asyncio.run(window))
    sys.exit(not all(fitting))


if __name__ == "__main__":
    main()
