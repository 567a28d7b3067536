"""How long the worst requests keep everybody else waiting: `python -m benchmarks.silence`.

Asks a service for its health, 50 times a second over REST and over gRPC, while it sends the worst
request of each kind that the limits let in, one after another. Prints for each the size of its
body, how it was answered and when, the longest silence of both edges, and by how much the service's
memory grew, also as a multiple of the body. Client and service share the machine: what both waited
for a core is left out of the silence, the number in brackets has it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from tests.live.conftest import make_folder
from tests.live.service import ROOT, Service

from .inputs.worst_requests import GRPC, MOST_BYTES, REST, STREAM, Worst, worst_requests
from .report.machine import describe

MIB = 1024 * 1024
# The rule (operations.md): of silence, and of memory for each byte of a body.
MOST_SILENCE, MOST_MEMORY = 0.05, 4.0
# Small bodies say nothing of memory: pages, caches, a thread's stack.
LEAST_BODY = 4 * MIB
# Before a request and after its answer: what it leaves behind is its own, too.
REST_SECONDS = 0.3
IDLE_SECONDS = 3.0
QUICK_BYTES = MIB
SERVICE = "/inference.GRPCInferenceService/"


class Watch:
    """A process that asks for health (loads/health_watch.py)."""

    def __init__(self, service: Service):
        ports = map(str, (service.http, service.grpc, service.process.pid))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loads.health_watch", *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def seen(self) -> dict[str, float]:
        """What was seen since this was asked last."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write("\n")
        stdin.flush()
        found: dict[str, float] = json.loads(stdout.readline())
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Seen:
    """What one request did."""

    kind: Worst
    size: int
    status: str
    seconds: float
    silence: float
    own: float
    growth: int

    @property
    def keeps(self) -> bool:
        """Whether it kept to the rule."""
        fits = self.size < LEAST_BODY or self.growth <= MOST_MEMORY * self.size
        return self.own <= MOST_SILENCE and fits

    def __str__(self) -> str:
        ratio = f"{self.growth / self.size:4.1f}" if self.size >= LEAST_BODY else "   -"
        return (
            f"{self.kind.name:46} {self.size / MIB:6.1f} MiB  {self.status:20} "
            f"{self.seconds:6.2f} s  silence {self.own * 1e3:5.0f} ms ({self.silence * 1e3:5.0f})  "
            f"memory {self.growth / MIB:+7.1f} MiB {ratio}{'' if self.keeps else '  PAST'}"
        )


def ask(service: Service, kind: Worst, body: bytes, limit: float) -> str:
    """Send a request and read its answer; its status, with the beginning of an error."""
    if kind.wire == REST:
        return _ask_rest(service, kind, body, limit)
    return _ask_grpc(service, kind, body, limit)


def _ask_rest(service: Service, kind: Worst, body: bytes, limit: float) -> str:
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


def _ask_grpc(service: Service, kind: Worst, body: bytes, limit: float) -> str:
    address = service.grpc_address if kind.wire == GRPC else service.triton_address
    with grpc.insecure_channel(address, OPTIONS) as channel:
        try:
            if kind.call == STREAM:
                stream: Any = channel.stream_stream(SERVICE + STREAM)
                for _ in stream(iter([body]), timeout=limit):
                    pass
            else:
                unary: Any = channel.unary_unary(SERVICE + kind.call)
                unary(body, timeout=limit)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@contextmanager
def serving(scratch: Path) -> Iterator[tuple[Service, Watch]]:
    """The project's service, with models that give back what they get, and a watch on it."""
    folder = make_folder(scratch / f"service-{time.monotonic_ns()}")
    models = folder / "model-settings"
    shutil.copytree(Path(__file__).with_name("models") / "echo", models / "echo")
    for name, source in (("echo-cached", models / "echo"), ("text-cached", models / "text-model")):
        shutil.copytree(source, models / name)
        settings = models / name / "model-settings.json"
        whole = json.loads(settings.read_text())
        settings.write_text(json.dumps({**whole, "name": name, "cache_enabled": True}))
    with Service(folder, folder / "server.log") as service:
        watch = Watch(service)
        try:
            time.sleep(REST_SECONDS)
            yield service, watch
        finally:
            watch.close()
            if not answers(service):
                service.process.kill()


def answers(service: Service) -> bool:
    """Whether a service is there for others again."""
    connection = http.client.HTTPConnection("127.0.0.1", service.http, timeout=1)
    try:
        connection.request("GET", "/v2/health/live")
        return bool(connection.getresponse().status == 200)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def idle(watch: Watch) -> float:
    """The longest silence while nothing is sent: what the machine itself adds."""
    watch.seen()
    time.sleep(IDLE_SECONDS)
    return watch.seen()["silence"]


def measure(service: Service, watch: Watch, kind: Worst, limit: float, repeats: int) -> Seen:
    """Send one request, several times; what the machine does besides is not always there, so the
    shortest silence counts, and the first growth."""
    body = kind.body()
    seen = [_measure(service, watch, kind, body, limit)]
    while len(seen) < repeats and answers(service):
        seen.append(_measure(service, watch, kind, body, limit))
    return replace(
        seen[0], silence=min(each.silence for each in seen), own=min(each.own for each in seen)
    )


def _measure(service: Service, watch: Watch, kind: Worst, body: bytes, limit: float) -> Seen:
    time.sleep(REST_SECONDS)
    watch.seen()
    time.sleep(REST_SECONDS)
    before = watch.seen()
    begun = time.perf_counter()
    status = ask(service, kind, body, limit)
    seconds = time.perf_counter() - begun
    time.sleep(REST_SECONDS)
    seen = watch.seen()
    growth = int(seen["most"] - before["most"])
    return Seen(kind, len(body), status, seconds, seen["silence"], seen["own"], growth)


def run(kinds: list[Worst], limit: float, repeats: int) -> list[Seen]:
    """Send them all; a service that one of them has stopped is replaced."""
    found: list[Seen] = []
    left = list(kinds)
    with tempfile.TemporaryDirectory() as scratch:
        while left:
            with serving(Path(scratch)) as (service, watch):
                print(f"nothing at all: silence {idle(watch) * 1e3:.0f} ms", flush=True)
                while left:
                    found.append(measure(service, watch, left.pop(0), limit, repeats))
                    print(found[-1], flush=True)
                    if not answers(service):
                        break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small requests, nothing asserted")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds for each answer")
    parser.add_argument("--repeats", type=int, default=1, help="of each; the least counts")
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    chosen = parser.parse_args()
    kinds = worst_requests(QUICK_BYTES if chosen.quick else MOST_BYTES)
    kinds = [kind for kind in kinds if chosen.only in kind.name]
    print(", ".join(f"{name} {value}" for name, value in describe().items()))
    found = run(kinds, chosen.limit, chosen.repeats)
    past = sum(not each.keeps for each in found)
    longest = max(each.own for each in found)
    print(
        f"{len(found)} kinds, longest silence {longest * 1e3:.0f} ms, {past} past "
        f"{MOST_SILENCE * 1e3:.0f} ms or {MOST_MEMORY:g} times the body; load after: "
        f"{os.getloadavg()[0]:.2f}"
    )
    return bool(past and not chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
