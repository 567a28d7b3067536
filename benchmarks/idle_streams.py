"""What a thousand streams cost that say one thing a second: `python -m benchmarks.idle_streams`.

Prints the resident memory of each stream beyond the service's own, the share of a core, and how
late events come. Client and service share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.live.conftest import make_folder
from tests.live.rest_calls import probe
from tests.live.service import Service
from tests.live.sockets import Connection, connections, stream_request
from tests.live.vitals import MIB, resident, vitals

from .contenders.process import usage
from .report.machine import describe

KIB = 1024
# The streams begin spread over one period, as clients do; all at once is another case.
PERIOD_SECONDS = 1.0
EVENT_END = b"\n\n"
MEMORY_TARGET = 64 * KIB


@dataclass
class Stream:
    """When the events of one stream came."""

    times: list[float] = field(default_factory=list)

    def lateness(self) -> list[float]:
        """Seconds past when each event was due, which is a period after the one before it."""
        return [
            max(0.0, later - earlier - PERIOD_SECONDS)
            for earlier, later in zip(self.times, self.times[1:], strict=False)
        ]


async def watch(connection: Connection, request: bytes, pause: float, stream: Stream) -> None:
    reader, writer = connection
    await asyncio.sleep(pause)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    while await reader.read(65536):
        # One event a second: each read is one, compressed or not.
        stream.times.append(time.perf_counter())


async def measure(service: Service, count: int, seconds: float, gzip: bool, at_once: bool) -> str:
    """One line of figures."""
    pid = service.process.pid
    encoding = "gzip" if gzip else "identity"
    body = probe(steps=10**6, seconds=PERIOD_SECONDS)
    request = stream_request("probe", body, encoding)
    base = (await vitals(service)).resident
    streams = [Stream() for _ in range(count)]
    async with connections(service, count) as opened:
        reading = [
            asyncio.create_task(watch(each, request, pause, stream))
            for each, stream, pause in zip(
                opened,
                streams,
                [0.0 if at_once else PERIOD_SECONDS * i / count for i in range(count)],
                strict=True,
            )
        ]
        await asyncio.sleep(2 * PERIOD_SECONDS + 1)
        for stream in streams:
            assert stream.times, "a stream has not begun"
            stream.times.clear()
        before, begun = usage(pid), time.perf_counter()
        await asyncio.sleep(seconds)
        used = usage(pid).since(before).cpu_seconds / (time.perf_counter() - begun)
        each = (resident(pid) - base) / count
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    late = [second for stream in streams for second in stream.lateness()]
    p50, p99 = statistics.median(late), statistics.quantiles(late, n=100)[98]
    return (
        f"{encoding:8}  {'at once' if at_once else 'spread':7}  {count} streams  "
        f"{len(late)} events  {each / KIB:.1f} KiB a stream beyond {base / MIB:.0f} MiB  "
        f"CPU {used:.0%} of a core  late p50 {p50 * 1e3:.1f} ms  p99 {p99 * 1e3:.1f} ms  "
        f"max {max(late) * 1e3:.1f} ms  {'within' if each <= MEMORY_TARGET else 'PAST'} the target"
    )


async def run(count: int, seconds: float) -> list[str]:
    lines = []
    for gzip in (False, True):
        for at_once in (False, True):
            # A service of its own for each: memory that one run has left free would serve the next.
            with tempfile.TemporaryDirectory() as scratch:
                limits = {"streams": count + 100}
                folder = make_folder(Path(scratch) / "service", streaming={"limits": limits})
                with Service(folder, folder / "server.log") as service:
                    lines.append(await measure(service, count, seconds, gzip, at_once))
                    print(lines[-1], flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in describe().items()))
    lines = asyncio.run(run(chosen.streams, chosen.seconds))
    print(f"load after: {os.getloadavg()[0]:.2f}")
    return any("PAST" in line for line in lines)


if __name__ == "__main__":
    sys.exit(main())
