"""What a user would pick instead, each started from its own environment with its own best settings.

`make peers` makes the environments below .venv-peers/ from benchmarks/peers/*/requirements.txt;
the same folders hold the models and servers, written as each project's documentation has it.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clients.server_process import free_ports

from ..inputs.text_prompt import WORDS
from .contenders import (
    BARE_SSE,
    BARE_SSE_TURNS,
    BENTOML,
    BY_HAND_GRPC,
    BY_HAND_SSE,
    HERE,
    KSERVE,
    LITSERVE,
    OURS,
    ROOT,
    STOCK,
    TRITON,
    ours,
    stock,
)
from .process import Contender, ContenderError

PEERS = HERE / "peers"
ENVIRONMENTS = ROOT / ".venv-peers"
Start = Callable[[Path, set[int]], Contender]
# What a kind of work is called where its model has a name of its own.
NAMES = {
    (OURS, "text"): "text-model",
    (OURS, "jpeg"): "jpeg-model",
    (OURS, "ticker"): "own-ticker",
    (STOCK, "text"): "stock-text",
    (STOCK, "jpeg"): "stock-jpeg",
}


def model_of(who: str, work: str) -> str:
    """The model that does a kind of work at a contender."""
    return NAMES.get((who, work), work)


def starts(work: str, *who: str, workers: int = 1, **changed: Any) -> dict[str, Start]:
    """What starts each contender, to do a kind of work.

    Args:
        work: text, ticker, burn, jpeg or tensor; of peers also echo.
        workers: processes or instances of those that have such a setting; ours and stock do it in
            one process.
        changed: our settings that are not as shipped.
    """
    name = model_of(OURS, work)
    own = [name] * (HERE / "models" / name).exists()
    makers: dict[str, Start] = {
        OURS: lambda folder, cores: ours(folder, cores, *own, **changed),
        STOCK: lambda folder, cores: stock(folder, cores, model_of(STOCK, work)),
        TRITON: lambda folder, cores: triton(folder, cores, work, workers),
        LITSERVE: lambda folder, cores: litserve(folder, cores, work, workers),
        BENTOML: lambda folder, cores: bentoml(folder, cores, workers),
        KSERVE: kserve,
        BY_HAND_SSE: by_hand_sse,
        BY_HAND_GRPC: by_hand_grpc,
        BARE_SSE: bare_sse,
        BARE_SSE_TURNS: lambda folder, cores: bare_sse(folder, cores, turns=True),
    }
    return {name: makers[name] for name in who}


class AbsentError(ContenderError):
    """A peer's environment is not there."""


def triton(folder: Path, cores: set[int], model: str, instances: int = 1) -> Contender:
    """The server inside the wheel nvidia-pytriton, on a plain repository of one Python model."""
    site = next((_environment("triton") / "lib").glob("python3.*/site-packages"))
    server = site / "pytriton" / "tritonserver"
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    # The wheel keeps a stub for each Python apart from the backend; the server wants them together.
    stub = server / "python_backend_stubs" / site.parent.name.removeprefix("python")
    for part in [*(server / "backends" / "python").glob("*.*"), *stub.iterdir()]:
        (backend / part.name).symlink_to(part)
    copied = folder / "models" / model
    (copied / "1").mkdir(parents=True)
    # Its stub has a Python path of its own, on which the model's folder is.
    for file in (PEERS / "triton" / "model.py", PEERS / "work.py"):
        shutil.copy(file, copied / "1")
    config = (PEERS / "triton" / "models" / f"{model}.pbtxt").read_text()
    (copied / "config.pbtxt").write_text(config.replace("count: 1", f"count: {instances}"))
    ports = http, grpc = free_ports(2)
    options = {
        "model-repository": folder / "models",
        "backend-directory": folder / "backends",
        "http-address": "127.0.0.1",
        "grpc-address": "127.0.0.1",
        "http-port": http,
        "grpc-port": grpc,
        "allow-metrics": "false",
        "exit-timeout-secs": 20,
    }
    command = [
        f"{server}/bin/tritonserver",
        *(f"--{name}={each}" for name, each in options.items()),
    ]
    environment = {
        "VIRTUAL_ENV": str(_environment("triton")),
        "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
    }
    return _server(folder, cores, "triton", command, ports, **environment)


def litserve(folder: Path, cores: set[int], api: str, workers: int) -> Contender:
    """One API and its workers."""
    ports = (*free_ports(1), 0)
    command = ["python", f"{PEERS}/litserve/server.py", str(ports[0]), api, str(workers)]
    return _server(folder, cores, "litserve", command, ports, "/health")


def bentoml(folder: Path, cores: set[int], workers: int) -> Contender:
    """All of its APIs."""
    ports = (*free_ports(1), 0)
    command = ["python", "-m", "bentoml", "serve", "service:Bench", "--host", "127.0.0.1"]
    command += ["--port", str(ports[0]), "--working-dir", f"{PEERS}/bentoml"]
    environment = {
        "BENCH_WORKERS": str(workers),
        "BENTOML_HOME": str(folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    return _server(folder, cores, "bentoml", command, ports, "/readyz", **environment)


def kserve(folder: Path, cores: set[int]) -> Contender:
    """KServe's Python server: unary calls only."""
    ports = free_ports(2)
    command = ["python", f"{PEERS}/kserve/server.py", *map(str, ports)]
    return _server(folder, cores, "kserve", command, ports)


def by_hand_sse(folder: Path, cores: set[int]) -> Contender:
    """peers/by_hand/sse_server.py."""
    ports = (*free_ports(1), 0)
    return _server(folder, cores, "", [f"{PEERS}/by_hand/sse_server.py", str(ports[0])], ports)


def by_hand_grpc(folder: Path, cores: set[int]) -> Contender:
    """peers/by_hand/grpc_server.py."""
    ports = (0, *free_ports(1))
    return _server(folder, cores, "", [f"{PEERS}/by_hand/grpc_server.py", str(ports[1])], ports)


def bare_sse(folder: Path, cores: set[int], turns: bool = False) -> Contender:
    """The bare limit: see bare_sse_writer.py."""
    ports = (*free_ports(1), 0)
    command = ["-m", "benchmarks.contenders.bare_sse_writer", str(ports[0]), str(WORDS)]
    return _server(folder, cores, "", command + ["turns"] * turns, ports, "")


def _server(
    folder: Path,
    cores: set[int],
    peer: str,
    command: list[str],
    ports: Sequence[int],
    ready_path: str = "/v2/health/ready",
    **environment: str,
) -> Contender:
    """A server in a peer's environment; of nobody, in this project's.

    Args:
        command: in a peer's environment, one of its own programs or a path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if peer:
        programs = _environment(peer) / "bin"
        command = [str(programs / command[0]), *command[1:]]  # a whole path stays what it is
        environment |= {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(PEERS)}
    else:
        command, environment = [sys.executable, *command], {"PYTHONPATH": str(ROOT)}
    return Contender(command, folder, environment, tuple(ports), cores, ready_path)


def _environment(name: str) -> Path:
    environment = ENVIRONMENTS / name
    if not (environment / ".installed").exists():
        raise AbsentError("not installed here (`make peers` tries)")
    return environment
