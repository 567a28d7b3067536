"""What a user would pick instead, each started from its own environment with its own best settings.

`make peers` makes the environments below .venv-peers/ from benchmarks/peers/*/requirements.txt;
the same folders hold the models and servers, written as each project's documentation has it.
"""

import shutil
import sys
from collections.abc import Callable
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
    own = [work] * ((OURS, work) not in NAMES)
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
    shutil.copy(PEERS / "triton" / "model.py", copied / "1")
    config = (PEERS / "triton" / "models" / f"{model}.pbtxt").read_text()
    (copied / "config.pbtxt").write_text(config.replace("count: 1", f"count: {instances}"))
    http, grpc = free_ports(2)
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
    command = [str(server / "bin" / "tritonserver")]
    environment = _environment("triton")
    return Contender(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        folder,
        {
            "PATH": f"{environment / 'bin'}:/usr/bin:/bin",
            "VIRTUAL_ENV": str(environment),
            "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
        },
        (http, grpc),
        cores,
    )


def litserve(folder: Path, cores: set[int], api: str, workers: int) -> Contender:
    """One API and its workers."""
    (http,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    python, server = _python("litserve"), PEERS / "litserve" / "server.py"
    command = [str(python), str(server), str(http), api, str(workers)]
    return Contender(command, folder, {}, (http, 0), cores, "/health")


def bentoml(folder: Path, cores: set[int], workers: int) -> Contender:
    """All of its APIs."""
    (http,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    python = _python("bentoml")
    return Contender(
        [
            *(str(python), "-m", "bentoml", "serve", "service:Bench", "--host", "127.0.0.1"),
            *("--port", str(http), "--working-dir", str(PEERS / "bentoml")),
        ],
        folder,
        {
            "BENCH_WORKERS": str(workers),
            "BENTOML_HOME": str(folder / "home"),
            "BENTOML_DO_NOT_TRACK": "True",
            "PATH": f"{python.parent}:/usr/bin:/bin",
        },
        (http, 0),
        cores,
        "/readyz",
    )


def kserve(folder: Path, cores: set[int]) -> Contender:
    """KServe's Python server: unary calls only."""
    http, grpc = free_ports(2)
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(_python("kserve")), str(PEERS / "kserve" / "server.py"), str(http), str(grpc)]
    return Contender(command, folder, {}, (http, grpc), cores)


def by_hand_sse(folder: Path, cores: set[int]) -> Contender:
    """peers/by_hand/sse_server.py, in this project's environment."""
    (http,) = free_ports(1)
    return _ours(folder, cores, [str(PEERS / "by_hand" / "sse_server.py"), str(http)], (http, 0))


def by_hand_grpc(folder: Path, cores: set[int]) -> Contender:
    """peers/by_hand/grpc_server.py, in this project's environment."""
    (grpc,) = free_ports(1)
    return _ours(folder, cores, [str(PEERS / "by_hand" / "grpc_server.py"), str(grpc)], (0, grpc))


def bare_sse(folder: Path, cores: set[int], turns: bool = False) -> Contender:
    """The bare limit: see bare_sse_writer.py."""
    (http,) = free_ports(1)
    command = ["-m", "benchmarks.contenders.bare_sse_writer", str(http), str(WORDS)]
    return _ours(folder, cores, [*command, *(["turns"] if turns else [])], (http, 0), "")


def _ours(
    folder: Path,
    cores: set[int],
    command: list[str],
    ports: tuple[int, int],
    ready_path: str = "/v2/health/ready",
) -> Contender:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"PYTHONPATH": str(ROOT)}
    return Contender([sys.executable, *command], folder, environment, ports, cores, ready_path)


def _environment(name: str) -> Path:
    environment = ENVIRONMENTS / name
    if not (environment / ".installed").exists():
        raise AbsentError("not installed here (`make peers` tries)")
    return environment


def _python(name: str) -> Path:
    return _environment(name) / "bin" / "python"
