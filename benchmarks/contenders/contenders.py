"""Who is measured: this project's service, stock MLServer, and a bare grpc.aio server."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from clients.server_process import free_ports, on_ports
from clients.service import COMMAND

from .process import Contender

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent
MODELS = HERE / "models"

# MLServer's streaming example serves with these.
STOCK_SETTINGS: dict[str, Any] = {
    "debug": False,
    "parallel_workers": 0,
    "gzip_enabled": False,
    "metrics_endpoint": None,
}
SEAM = {"model_repository_implementation": "mlserver_streaming.repository.ModelSettingsRepository"}
# One FP32 1x3x640x640 tensor is past gRPC's usual 4 MiB; ours takes 64 MiB as shipped.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
OURS, STOCK, BARE = "ours", "stock MLServer", "bare grpc.aio"


def ours(folder: Path, cores: set[int], *models: str, **changed: Any) -> Contender:
    """The project as it is shipped, metrics and gzip on, its text without a delay.

    Its language model is left out: it has threads of its own, and benchmarks/language.py.

    Args:
        folder: a fresh one, for the copies of settings and models.
        models: folders of benchmarks/models to serve beside the project's own.
        changed: settings that are not as shipped.
    """
    copied = folder / "model-settings"
    shutil.copytree(ROOT / "model-settings", copied, ignore=shutil.ignore_patterns("language"))
    text = copied / "text-model" / "model-settings.json"
    settings = json.loads(text.read_text())
    settings["parameters"]["extra"]["delay"] = 0
    text.write_text(json.dumps(settings))
    shipped = json.loads((ROOT / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(shipped | changed))
    tls = "tls" in changed.get("streaming", {})
    return _mlserver(folder, copied, models, cores, tls, PYTHONPATH=str(ROOT))


def stock(
    folder: Path, cores: set[int], *models: str, httptools: bool = False, **changed: Any
) -> Contender:
    """MLServer from PyPI with the settings of its own streaming example; no seam, no runtime of
    ours.

    Args:
        httptools: whether uvicorn has its C parser, which MLServer does not install.
        changed: settings that are not the example's.
    """
    path = "" if httptools else str(HERE / "without_httptools")
    return _plain(folder, cores, models, changed, path)


def with_seam(folder: Path, cores: set[int], *models: str, **changed: Any) -> Contender:
    """`stock` with this project's one setting, and no model of its own."""
    return _plain(folder, cores, models, SEAM | changed, str(ROOT))


def _plain(
    folder: Path, cores: set[int], models: tuple[str, ...], changed: dict[str, Any], path: str
) -> Contender:
    settings = STOCK_SETTINGS | {"grpc_max_message_length": MAX_MESSAGE_BYTES} | changed
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))
    return _mlserver(folder, folder, models, cores, tls=False, PYTHONPATH=path)


def bare(folder: Path, cores: set[int]) -> Contender:
    """A grpc.aio server that only reads the tensor: see bare_tensor_server.py."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.contenders.bare_tensor_server", str(port)]
    return Contender(command, folder, {"PYTHONPATH": str(ROOT)}, (0, port), cores)


def _mlserver(
    folder: Path,
    models_folder: Path,
    models: tuple[str, ...],
    cores: set[int],
    tls: bool,
    **environment: str,
) -> Contender:
    for model in models:
        shutil.copytree(MODELS / model, models_folder / model)
    ports = http, grpc, _, _ = free_ports(4)
    return Contender(COMMAND, folder, on_ports(*ports) | environment, (http, grpc), cores, tls=tls)
