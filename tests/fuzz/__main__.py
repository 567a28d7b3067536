"""Minutes of mutated input against one service with keys: `make fuzz SECONDS=120 [SEED=1]`.

Fails at an answer that is a fault of the service's own, at a request that is not answered, at a
silence of more than 0.25 s, and at a traceback in the log. The seed and its name are all of a case:
`python -m tests.fuzz --seed 1 --only rest/17` sends it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.cases import Case, Cases
from tests.fuzz.verdicts import grpc_fault, http_fault, log_faults
from tests.fuzz.wires import GrpcWire, HttpWire
from tests.live.conftest import make_folder
from tests.live.keyed import add_key
from tests.live.service import ROOT, Service
from tests.silence.watch import Watch

LOG = ROOT / "results" / "fuzz.log"
MAX_SILENCE = 0.25
# Clients of each wire at once.
CLIENTS = {"http": 32}
OTHERS = 2
MAX_FAULTS = 20
MODELS = ("text-model", "jpeg-model", "language", "speech-model")


class Run:
    """One run: what was sent, and what is wrong."""

    def __init__(self, service: Service, cases: Cases):
        self.sent: Counter[str] = Counter()
        self.faults: list[str] = []
        self._service = service
        self._cases = cases

    async def client(self, wire: str, first: int, step: int, until: float) -> None:
        """Send every `step`-th case of a wire from the first on."""
        sender = self._sender(wire)
        number = first
        while time.monotonic() < until and len(self.faults) < MAX_FAULTS:
            await self.send(wire, sender, self._cases.case(wire, number))
            number += step
        if isinstance(sender, GrpcWire):
            await sender.close()
        else:
            sender.close()

    async def send(self, wire: str, sender: HttpWire | GrpcWire, case: Case) -> None:
        try:
            if isinstance(sender, GrpcWire):
                fault = grpc_fault(*await sender.send(case))
            else:
                fault = http_fault(await sender.send(case))
        except TimeoutError:
            fault = "no answer"
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            fault = f"the connection ended without an answer: {error!r}"
        self.sent[wire] += case.inputs
        if fault:
            self.faults.append(f"{case.name}: {fault}")
            print("WRONG:", self.faults[-1][:1000], flush=True)

    async def one(self, name: str) -> None:
        wire, _, number = name.partition("/")
        case = self._cases.case(wire, int(number))
        print(case)
        sender = self._sender(wire)
        print(await sender.send(case))
        await self.send(wire, sender, case)

    def _sender(self, wire: str) -> HttpWire | GrpcWire:
        if wire.startswith("triton"):
            return GrpcWire(self._service.triton_address)
        if wire.startswith("grpc"):
            return GrpcWire(self._service.grpc_address)
        return HttpWire(self._service.http)


async def everything(run: Run, wires: list[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for wire in wires:
            count = CLIENTS.get(wire, OTHERS)
            for first in range(count):
                group.create_task(run.client(wire, first, count, until))


def folder_of(scratch: Path) -> tuple[Path, dict[str, str]]:
    """What is served, with keys; and the keys."""
    folder = make_folder(
        scratch / "service",
        language=True,
        streaming={
            "auth": {"keys_file": "keys.json"},
            "limits": {"request_bytes": 2**20, "stream_seconds": 10},
        },
    )
    models = folder / "model-settings"
    for model in models.iterdir():
        if model.name not in MODELS:
            shutil.rmtree(model)
    shutil.copytree(Path(__file__).with_name("models"), models, dirs_exist_ok=True)
    cached = shutil.copytree(models / "text-model", models / "cached") / "model-settings.json"
    settings = json.loads(cached.read_text()) | {"name": "cached", "cache_enabled": True}
    cached.write_text(json.dumps(settings))
    keys = folder / "keys.json"
    return folder, {
        "infer": add_key(keys, "infer", "--role", "infer"),
        "admin": add_key(keys, "admin", "--role", "admin"),
        "limited": add_key(keys, "limited", "--role", "infer", "--model", "text-model"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("seconds", nargs="?", type=float, default=120)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--only", help="one case: rest/17")
    parser.add_argument("--wires", nargs="+", help="some of the wires")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    LOG.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder, keys = folder_of(Path(scratch))
        cases = Cases(asked.seed, keys)
        with Service(folder, LOG) as service:
            run = Run(service, cases)
            begun = time.monotonic()
            # REST alone: over gRPC an answer passes through several threads at both ends, which
            # wait for the cores that the fuzzer keeps busy, and only one of them is left out.
            with Watch(service.http, 0, service.process.pid) as watch:
                if asked.only:
                    asyncio.run(run.one(asked.only))
                else:
                    asyncio.run(everything(run, asked.wires or list(cases.wires), asked.seconds))
                silence = watch.seen()
            took = time.monotonic() - begun
    wrong = [*run.faults, *log_faults(LOG)[:MAX_FAULTS]]
    if service.process.returncode != 0:
        wrong.append(f"the service ended with status {service.process.returncode}")
    print(f"{run.sent.total()} inputs in {took:.0f} s:", dict(run.sent))
    print(f"longest silence {silence.longest:.3f} s, of the service's own {silence.own:.3f} s")
    if silence.own > MAX_SILENCE:
        wrong.append(f"health was not answered for {silence.own:.3f} s")
    if silence.failed:
        wrong.append(f"health was not answered {silence.failed} times")
    for each in wrong:
        print("WRONG:", each[:1000])
    print(f"fuzz failed, seed {asked.seed}; the log: {LOG}" if wrong else "fuzz passed")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
