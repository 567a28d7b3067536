"""Replicas on machines of their own, as far as their network goes, behind the project's HAProxy.

Each is a network namespace with one cable to a bridge in ours, where HAProxy and the clients are.
All of it ends with the processes in it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clients.server_process import ServerProcess, answers_ok
from clients.service import COMMAND
from deploy.replicas import CONFIG, Balancer, with_replicas
from tests.live.conftest import make_folder
from tests.live.service import ROOT
from tests.memcached import BINARY

SEQUENCE_MODELS = ROOT / "tests" / "live" / "sequence_models"
NETWORK = "10.231.0"
BRIDGE = f"{NETWORK}.1"
# Clusters' own addresses, where their HAProxy listens, from here on.
FRONT = 200
MEMCACHED_PORT = 11211
REMEMBERED = "remembered"
PATIENCE_S = 60.0
# The others would make each of many starts longer.
SERVED = {"text-model", "probe", "process"}
# As deploy/ has it: HAProxy sees 503 before calls are refused.
NOTICE_SECONDS = 2


def missing() -> str | None:
    """Why no such machines can be made here; None where they can."""
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("memcached", "it")):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: {package})"
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    if len(links.splitlines()) != 1:
        return "these tests need a network namespace of their own: make scale-test"
    tried = subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], capture_output=True)
    return tried.stderr.decode().strip() and "a bridge cannot be made in this namespace"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def make_bridge() -> None:
    """Ours, once `missing` has found nothing."""
    ip("link", "set", "lo", "up")
    ip("addr", "add", f"{BRIDGE}/24", "dev", "br0")
    ip("link", "set", "br0", "up")


class Node:
    """A machine: a namespace that lasts as long as a process in it sleeps."""

    def __init__(self, index: int) -> None:
        self.cable, self.address = f"cable{index}", f"{NETWORK}.{index + 1}"
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self._file = f"/proc/{self._holder.pid}/ns/net"
        wait_for(lambda: os.readlink(self._file) != os.readlink("/proc/self/ns/net"))
        cable = ("link", "add", self.cable, "type", "veth")
        ip(*cable, "peer", "name", "eth0", "netns", str(self._holder.pid))
        ip("link", "set", self.cable, "master", "br0", "up")
        for command in (
            ("addr", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            subprocess.run([*self.inside, "ip", *command], check=True)

    @property
    def inside(self) -> list[str]:
        """What a command begins with to run there."""
        return ["nsenter", f"--net={self._file}"]

    def cut(self) -> None:
        """The cable is out; nobody is told."""
        ip("link", "set", self.cable, "down")

    def join(self) -> None:
        ip("link", "set", self.cable, "up")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


class Replica(ServerProcess):
    """`mlserver start .` on a machine of its own, on the usual ports."""

    ready_s, stop_s = 180.0, 60.0

    def __init__(self, index: int, folder: Path, log: Path) -> None:
        self.node = Node(index)
        self.url = f"http://{self.node.address}:8080"
        given = {**os.environ, "PYTHONPATH": str(ROOT), "MLSERVER_HOST": "0.0.0.0"}
        super().__init__([*self.node.inside, *COMMAND], folder, given, log)

    def is_ready(self) -> bool:
        return answers_ok(f"{self.url}/v2/health/ready")

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


class Cluster:
    """Replicas behind HAProxy.

    Attributes:
        address, url, grpc, triton: where clients come.
    """

    def __init__(self, folder: Path, count: int, *, first: int = 1, **streaming: Any) -> None:
        """
        Args:
            first: the number of its first machine; two clusters have none in common.
            streaming: settings beside the shared cache.
        """
        self.address = f"{NETWORK}.{FRONT + first}"
        self.url = f"http://{self.address}:8080"
        self.grpc, self.triton = f"{self.address}:8081", f"{self.address}:8001"
        cache = {"backend": "memcached", "servers": [f"{BRIDGE}:{MEMCACHED_PORT}"]}
        streaming = {"cache": cache, "notice_seconds": NOTICE_SECONDS, **streaming}
        served = make_folder(folder / "served", streaming=streaming)
        choose_models(served)
        self.replicas = [
            Replica(index, served, folder / f"replica-{index}.log")
            for index in range(first, first + count)
        ]
        replicas = [(replica.node.address, 8080) for replica in self.replicas]
        config = with_replicas(CONFIG.read_text(), replicas)
        self.balancer = Balancer(config, folder / "haproxy", listen=self.address)

    def __enter__(self) -> Self:
        ip("addr", "add", f"{self.address}/24", "dev", "br0")
        self.start(self.replicas)
        self.balancer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.balancer.stop()
        for replica in self.replicas:
            replica.process.kill()
            replica.process.wait()
            replica.node.close()

    @staticmethod
    def start(replicas: Sequence[Replica]) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Replica.start, replicas))

    def by_pid(self, pid: int) -> Replica:
        return next(replica for replica in self.replicas if replica.pid == pid)

    def whole(self) -> None:
        """All replicas run, can be reached, and HAProxy knows."""
        for replica in self.replicas:
            replica.node.join()
            replica.send(signal.SIGCONT)
        self.start([each for each in self.replicas if each.process.poll() is not None])
        wait_for(lambda: self.states() == {"UP"})

    def states(self, *replicas: Replica) -> set[str]:
        """What HAProxy's backends think of these, or of all: UP, DOWN, NOLB (it drains)."""
        wanted = {f"replica{self.replicas.index(each) + 1}" for each in replicas or self.replicas}
        lines = self.balancer.ask("show stat").splitlines()
        names = lines[0].removeprefix("# ").split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
        return {row["status"].split()[0] for row in rows if row["svname"] in wanted}


@contextmanager
def memcached() -> Iterator[None]:
    """One for all clusters."""
    assert BINARY is not None
    # It does not want to be root, not even of a user namespace.
    process = subprocess.Popen(["unshare", "--user", "--map-user=1000", BINARY, "-l", BRIDGE])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def choose_models(served: Path) -> None:
    """What is SERVED, one that keeps its streams in memcached, and one that counts a sequence's."""
    models = served / "model-settings"
    for folder in models.iterdir():
        if folder.name not in SERVED:
            shutil.rmtree(folder)
    shutil.copytree(SEQUENCE_MODELS / "own-tally", models / "own-tally")
    settings = json.loads((models / "text-model" / "model-settings.json").read_text())
    settings |= {"name": REMEMBERED, "cache_enabled": True}
    (models / REMEMBERED).mkdir()
    (models / REMEMBERED / "model-settings.json").write_text(json.dumps(settings))


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so, in another process."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
