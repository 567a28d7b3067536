"""What a user would pick instead, each started from its own environment with its own best settings.

`make peers` makes the environments below .venv-peers/ from benchmarks/peers/*/requirements.txt;
the same folders hold the models and servers, written as each project's documentation has it.
"""

import shutil
import sys
from pathlib import Path

from clients.server_process import free_ports

from ..inputs.text_prompt import WORDS
from .contenders import HERE, ROOT
from .process import Contender, ContenderError

PEERS = HERE / "peers"
ENVIRONMENTS = ROOT / ".venv-peers"
TRITON, LITSERVE, BENTOML, KSERVE = "Triton", "LitServe", "BentoML", "KServe"
BY_HAND_SSE, BY_HAND_GRPC = "hand-written Starlette", "hand-written grpc.aio"
BARE_SSE, BARE_SSE_TURNS = "bare asyncio writer", "bare asyncio writer, a turn each event"


class AbsentError(ContenderError):
    """A peer's environment is not there."""


def triton(folder: Path, cores: set[int], *models: str, instances: int = 1) -> Contender:
    """The server inside the wheel nvidia-pytriton, on a plain repository of Python models."""
    site = next((_environment("triton") / "lib").glob("python3.*/site-packages"))
    server = site / "pytriton" / "tritonserver"
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    # The wheel keeps a stub for each Python apart from the backend; the server wants them together.
    stub = server / "python_backend_stubs" / site.parent.name.removeprefix("python")
    for part in [*(server / "backends" / "python").glob("*.*"), *stub.iterdir()]:
        (backend / part.name).symlink_to(part)
    for model in models:
        copied = folder / "models" / model
        shutil.copytree(PEERS / "triton" / "models" / model, copied)
        config = copied / "config.pbtxt"
        config.write_text(config.read_text().replace("count: 1", f"count: {instances}"))
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


def litserve(folder: Path, cores: set[int], api: str, workers: int = 1) -> Contender:
    """One API and its workers."""
    (http,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    python, server = _python("litserve"), PEERS / "litserve" / "server.py"
    command = [str(python), str(server), str(http), api, str(workers)]
    return Contender(command, folder, {}, (http, 0), cores, "/health")


def bentoml(folder: Path, cores: set[int], workers: int = 1) -> Contender:
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


def bare_sse(folder: Path, cores: set[int], turns: bool) -> Contender:
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
