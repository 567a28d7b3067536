"""This project's service and stock MLServer; by name, whoever is measured."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

from clients.server_process import free_ports, on_ports
from clients.service import COMMAND
from mlserver_streaming.settings.wires import GrpcSettings

from .process import Contender

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent
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
OURS, STOCK = "ours", "stock MLServer"
# The gRPC servers that ours has; rows of text over gRPC have the one that is not its default too.
GRPC_SERVERS = get_args(GrpcSettings.model_fields["server"].annotation)
(OTHER_GRPC,) = {*GRPC_SERVERS} - {GrpcSettings().server}
OURS_OTHER_GRPC = f"{OURS}, {OTHER_GRPC}"
TRITON, LITSERVE, BENTOML, KSERVE = "Triton", "LitServe", "BentoML", "KServe"
BY_HAND_SSE, BY_HAND_GRPC = "hand-written Starlette", "hand-written grpc.aio"
BARE_SSE, BARE_SSE_TURNS = "bare asyncio writer", "bare asyncio writer, a turn each event"


def ours(
    folder: Path, cores: set[int], *models: str, everything: bool = False, **changed: Any
) -> Contender:
    """The project as it is shipped, metrics and gzip on, its text without a delay.

    Args:
        folder: a fresh one, for the copies of settings and models.
        models: folders of benchmarks/models to serve beside the project's own.
        everything: its language model too, which has threads of its own.
        changed: settings that are not as shipped; `streaming` is merged into its block.
    """
    copied = folder / "model-settings"
    left_out = shutil.ignore_patterns(*([] if everything else ["language"]))
    shutil.copytree(ROOT / "model-settings", copied, ignore=left_out)
    change_model(folder, "text-model", delay=0)
    shipped = json.loads((ROOT / "settings.json").read_text())
    streaming = changed.pop("streaming", {})
    whole = shipped | changed | {"streaming": shipped["streaming"] | streaming}
    return _mlserver(folder, whole, copied, models, cores, str(ROOT), "tls" in streaming)


def with_other_grpc(changed: dict[str, Any]) -> dict[str, Any]:
    """Settings of ours, changed so that the other gRPC server serves."""
    streaming = changed.get("streaming", {}) | {"grpc": {"server": OTHER_GRPC}}
    return changed | {"streaming": streaming}


def change_model(folder: Path, model: str, settings: Any = None, /, **extra: Any) -> None:
    """Change the settings of a model of `ours` before it starts; `extra` are the runtime's own."""
    file = folder / "model-settings" / model / "model-settings.json"
    whole = json.loads(file.read_text()) | (settings or {})
    if extra:
        whole["parameters"]["extra"] |= extra
    file.write_text(json.dumps(whole))


def stock(
    folder: Path, cores: set[int], *models: str, httptools: bool = False, **changed: Any
) -> Contender:
    """MLServer from PyPI with the settings of its own streaming example; no seam, no runtime of
    ours.

    Args:
        httptools: whether uvicorn has its C parser, which MLServer does not install.
        changed: settings that are not the example's; SEAM adds this project's one.
    """
    settings = STOCK_SETTINGS | {"grpc_max_message_length": MAX_MESSAGE_BYTES} | changed
    folder.mkdir(parents=True, exist_ok=True)
    path = str(ROOT) if httptools else f"{HERE / 'without_httptools'}:{ROOT}"
    return _mlserver(folder, settings, folder, models, cores, path)


def _mlserver(
    folder: Path,
    settings: dict[str, Any],
    models_folder: Path,
    models: tuple[str, ...],
    cores: set[int],
    path: str,
    tls: bool = False,
) -> Contender:
    (folder / "settings.json").write_text(json.dumps(settings))
    for model in models:
        shutil.copytree(HERE / "models" / model, models_folder / model)
    http, grpc, _, triton = ports = free_ports(4)
    environment = on_ports(*ports) | {"PYTHONPATH": path}
    return Contender(COMMAND, folder, environment, (http, grpc, triton), cores, tls=tls)
