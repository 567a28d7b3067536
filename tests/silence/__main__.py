"""How long the worst requests keep everybody else waiting: `make silence`.

Asks a service for its health, 50 times a second over REST and over gRPC, while it sends the worst
request of each kind that the limits let in, one after another. Prints for each the size of its
body, how it was answered and when, the longest silence of both edges, and by how much the service's
memory grew, also as a multiple of the body. Client and service share the machine: what both waited
for a core is left out of the silence, the number in brackets has it.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import grpc

from benchmarks.contenders.contenders import change_model, ours
from benchmarks.contenders.process import Contender
from benchmarks.report.machine import describe
from clients.server_process import answers_ok
from tests.silence.watch import Silence, Watch
from tests.silence.worst_requests import MOST_BYTES, REST, TRITON, Worst, worst_requests

ECHO = Path(__file__).parents[1] / "live" / "models" / "echo"
MIB = 1024 * 1024
# The rule (operations.md): of silence, and of memory for each byte of a body.
MOST_SILENCE, MOST_MEMORY = 0.05, 4.0
# Small bodies say nothing of memory: pages, caches, a thread's stack.
LEAST_BODY = 4 * MIB
# Before a request and after its answer: what it leaves behind is its own, too.
REST_SECONDS = 0.3
IDLE_SECONDS = 3.0
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True)
class Seen:
    """What one request did."""

    kind: Worst
    size: int
    status: str
    seconds: float
    silence: Silence
    growth: int

    @property
    def keeps(self) -> bool:
        """Whether it kept to the rule."""
        fits = self.size < LEAST_BODY or self.growth <= MOST_MEMORY * self.size
        return self.silence.own <= MOST_SILENCE and fits

    def __str__(self) -> str:
        ratio = f"{self.growth / self.size:4.1f}" if self.size >= LEAST_BODY else "   -"
        own, longest = 1e3 * self.silence.own, 1e3 * self.silence.longest
        return (
            f"{self.kind.name:46} {self.size / MIB:6.1f} MiB  {self.status:20} "
            f"{self.seconds:6.2f} s  silence {own:5.0f} ms ({longest:5.0f})  "
            f"memory {self.growth / MIB:+7.1f} MiB {ratio}{'' if self.keeps else '  PAST'}"
        )


def ask_rest(service: Contender, kind: Worst, body: bytes, limit: float) -> str:
    """Send a request and read its answer; its status."""
    connection = http.client.HTTPConnection("127.0.0.1", service.http, timeout=limit)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # answered before it was all sent
            connection.request("POST", f"/v2/models/{kind.call}", body, kind.headers)
        answer = connection.getresponse()
        while answer.read(MIB):
            pass
        return str(answer.status)
    except TimeoutError:
        return "hung up"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def ask_grpc(service: Contender, kind: Worst, body: bytes, limit: float) -> str:
    """The same over gRPC, where a unary call is a stream of one message each way."""
    port = service.triton if kind.wire == TRITON else service.grpc
    with grpc.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
        call: Any = channel.stream_stream(f"/inference.GRPCInferenceService/{kind.call}")
        try:
            for _ in call(iter([body]), timeout=limit):
                pass
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def prepared(folder: Path) -> Contender:
    """The project's service, with models that give back what they get; not started yet."""
    service, models = ours(folder, set(range(1024))), folder / "model-settings"
    shutil.copytree(ECHO, models / "echo")
    for name, source in (("echo-cached", "echo"), ("text-cached", "text-model")):
        shutil.copytree(models / source, models / name)
        change_model(folder, name, {"name": name, "cache_enabled": True})
    return service


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Contender, Watch]]:
    """The same, and a watch on it."""
    service = prepared(folder)
    with service, Watch(service.http, service.grpc, service.process.pid) as watch:
        time.sleep(REST_SECONDS)
        yield service, watch


def answers(service: Contender) -> bool:
    """Whether a service is there for others again."""
    return answers_ok(f"http://127.0.0.1:{service.http}/v2/health/live")


def idle(watch: Watch) -> float:
    """The longest silence while nothing is sent: what the machine itself adds."""
    watch.seen()
    time.sleep(IDLE_SECONDS)
    return watch.seen().longest


def measure(service: Contender, watch: Watch, kind: Worst, limit: float, repeats: int) -> Seen:
    """Send one request, several times; what the machine does besides is not always there, so the
    shortest silence counts, and the first growth."""
    body = kind.body()
    seen = [measure_once(service, watch, kind, body, limit)]
    while len(seen) < repeats and answers(service):
        seen.append(measure_once(service, watch, kind, body, limit))
    return replace(seen[0], silence=min((each.silence for each in seen), key=lambda one: one.own))


def measure_once(service: Contender, watch: Watch, kind: Worst, body: bytes, limit: float) -> Seen:
    time.sleep(REST_SECONDS)
    forget_most(service.process.pid)
    before = resident(service.process.pid)
    watch.seen()
    begun = time.perf_counter()
    status = (ask_rest if kind.wire == REST else ask_grpc)(service, kind, body, limit)
    seconds = time.perf_counter() - begun
    time.sleep(REST_SECONDS)
    growth = resident(service.process.pid, "VmHWM") - before
    return Seen(kind, len(body), status, seconds, watch.seen(), growth)


def resident(pid: int, field: str = "VmRSS") -> int:
    """Bytes of a process's memory (proc(5)); VmHWM: the most since `forget_most`; 0 where it has
    ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0


def forget_most(pid: int) -> None:
    """VmHWM is from now on the most since now."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def run(kinds: list[Worst], limit: float, repeats: int) -> list[Seen]:
    """Send them all; a service that one of them has stopped is replaced."""
    found: list[Seen] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        while len(found) < len(kinds):
            with serving(Path(scratch) / f"service-{len(found)}") as (service, watch):
                click.echo(f"nothing at all: silence {idle(watch) * 1e3:.0f} ms")
                for kind in kinds[len(found) :]:
                    found.append(measure(service, watch, kind, limit, repeats))
                    click.echo(found[-1])
                    if not answers(service):
                        break
    return found


@click.command()
@click.option("--quick", is_flag=True, help="Small requests, nothing asserted.")
@click.option("--limit", default=30.0, show_default=True, help="Seconds for each answer.")
@click.option("--repeats", default=1, show_default=True, help="Of each; the least counts.")
@click.option("--only", default="", help="Kinds whose name has this in it.")
def main(quick: bool, limit: float, repeats: int, only: str) -> None:
    """How long the worst requests keep everybody else waiting."""
    kinds = [kind for kind in worst_requests(MIB if quick else MOST_BYTES) if only in kind.name]
    click.echo(", ".join(f"{name} {value}" for name, value in describe().items()))
    found = run(kinds, limit, repeats)
    past = sum(not each.keeps for each in found)
    longest = max(each.silence.own for each in found)
    click.echo(
        f"{len(found)} kinds, longest silence {longest * 1e3:.0f} ms, {past} past "
        f"{MOST_SILENCE * 1e3:.0f} ms or {MOST_MEMORY:g} times the body; load after: "
        f"{os.getloadavg()[0]:.2f}"
    )
    sys.exit(bool(past and not quick))


if __name__ == "__main__":
    main()
