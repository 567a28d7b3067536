"""What a user would pick instead, each started from its own environment with its own best settings.

`make peers` makes the environments below .venv-peers/ from benchmarks/peers/*/requirements.txt;
the same folders hold the models and servers, written as each project's documentation has it.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clients.server_process import HOST, free_ports

from . import contenders as named
from .contenders import HERE, OURS, ROOT, STOCK, ours, stock, with_other_grpc
from .process import Contender, ContenderError

PEERS = HERE / "peers"
ENVIRONMENTS = ROOT / ".venv-peers"
Start = Callable[[Path, set[int]], Contender]
# The input and the output of each model of Triton's: name, type, shape.
TEXT_TENSORS = (("prompt", "STRING", "1"), ("output", "STRING", "1"))
TENSORS = {
    "jpeg": (("image", "STRING", "1"), ("output_image", "STRING", "1")),
    "tensor": (("image", "FP32", "1, 3, 640, 640"), ("ends", "FP32", "3")),
}
# What a kind of work is called where its model has a name of its own.
NAMES = {
    (OURS, "text"): "text-model",
    (OURS, "jpeg"): "jpeg-model",
    (OURS, "ticker"): "own-ticker",
    (STOCK, "text"): "stock-text",
    (STOCK, "jpeg"): "stock-jpeg",
}


def model_of(who: str, work: str) -> str:
    """The model that does a kind of work at a contender; of `ours, ...` the same as of ours."""
    return NAMES.get((who.partition(",")[0], work), work)


def starts(work: str, *who: str, workers: int = 1, **changed: Any) -> dict[str, Start]:
    """What starts each contender, to do a kind of work.

    Args:
        work: text, ticker, jpeg or tensor; of peers also echo.
        workers: processes or instances of those that have such a setting; ours and stock do it in
            one process.
        changed: our settings that are not as shipped.
    """
    name = model_of(OURS, work)
    own = [name] * (HERE / "models" / name).exists()

    def start(make: Callable[..., Contender], *given: Any, **settings: Any) -> Start:
        return lambda folder, cores: make(folder, cores, *given, **settings)

    makers: dict[str, Start] = {
        OURS: start(ours, *own, **changed),
        named.OURS_OTHER_GRPC: start(ours, *own, **with_other_grpc(changed)),
        STOCK: start(stock, model_of(STOCK, work)),
        named.TRITON: start(triton, work, workers),
        named.LITSERVE: start(litserve, work, workers),
        named.BENTOML: start(bentoml, workers),
        named.KSERVE: kserve,
        named.BY_HAND_SSE: start(by_hand, "sse_server"),
        named.BY_HAND_GRPC: start(by_hand, "grpc_server", over_grpc=True),
        named.BARE_SSE: start(by_hand, "sse_writer"),
        named.BARE_SSE_TURNS: start(by_hand, "sse_writer", "turns"),
    }
    return {name: makers[name] for name in who}


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
    (copied / "config.pbtxt").write_text(_triton_config(model, instances))
    http, grpc = free_ports(2)
    command = [
        f"{server}/bin/tritonserver",
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        *(f"--http-address={HOST}", f"--http-port={http}"),
        *(f"--grpc-address={HOST}", f"--grpc-port={grpc}"),
        "--allow-metrics=false",
        "--exit-timeout-secs=20",
    ]
    environment = {
        "VIRTUAL_ENV": str(_environment("triton")),
        "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
    }
    return _server(folder, cores, "triton", command, http, grpc, environment=environment)


def _triton_config(model: str, instances: int) -> str:
    inputs, outputs = (
        f'name: "{name}" data_type: TYPE_{kind} dims: [ {shape} ]'
        for name, kind, shape in TENSORS.get(model, TEXT_TENSORS)
    )
    return f"""
name: "{model}"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: {"false" if model == "echo" else "true"} }}
input [ {{ {inputs} }} ]
output [ {{ {outputs} }} ]
instance_group [ {{ kind: KIND_CPU count: {instances} }} ]
"""


def litserve(folder: Path, cores: set[int], api: str, workers: int) -> Contender:
    """One API and its workers."""
    (http,) = free_ports(1)
    command = ["python", f"{PEERS}/litserve/server.py", str(http), api, str(workers)]
    return _server(folder, cores, "litserve", command, http, ready_path="/health")


def bentoml(folder: Path, cores: set[int], workers: int) -> Contender:
    """All of its APIs."""
    (http,) = free_ports(1)
    command = ["python", "-m", "bentoml", "serve", "service:Bench", "--host", HOST]
    command += ["--port", str(http), "--working-dir", f"{PEERS}/bentoml"]
    environment = {
        "BENCH_WORKERS": str(workers),
        "BENTOML_HOME": str(folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    return _server(folder, cores, "bentoml", command, http, 0, "/readyz", environment)


def kserve(folder: Path, cores: set[int]) -> Contender:
    """KServe's Python server: unary calls only."""
    http, grpc = free_ports(2)
    command = ["python", f"{PEERS}/kserve/server.py", str(http), str(grpc)]
    return _server(folder, cores, "kserve", command, http, grpc)


def by_hand(
    folder: Path, cores: set[int], program: str, *more: str, over_grpc: bool = False
) -> Contender:
    """A file of peers/by_hand/, in this project's own environment; ready when its port is open."""
    (port,) = free_ports(1)
    ports = (0, port) if over_grpc else (port, 0)
    command = [f"{PEERS}/by_hand/{program}.py", str(port), *more]
    return _server(folder, cores, "", command, *ports, "")


def _server(
    folder: Path,
    cores: set[int],
    peer: str,
    command: list[str],
    http: int,
    grpc: int = 0,
    ready_path: str = "/v2/health/ready",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Contender:
    """A server in a peer's environment; of nobody, in this project's.

    Args:
        command: in a peer's environment, one of its own programs or a path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if peer:
        programs = _environment(peer) / "bin"
        command = [str(programs / command[0]), *command[1:]]  # a whole path stays what it is
        environment = {**environment, "PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(PEERS)}
    else:
        command, environment = [sys.executable, *command], {"PYTHONPATH": str(ROOT)}
    return Contender(command, folder, environment, (http, grpc), cores, ready_path)


def _environment(name: str) -> Path:
    environment = ENVIRONMENTS / name
    if not (environment / ".installed").exists():
        raise ContenderError("not installed here (`make peers` tries)")
    return environment
