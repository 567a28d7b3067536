"""One service for all live tests of a session; a few tests start their own."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.service import ROOT, Service
from tests.live.warm import WarmService

MODELS = Path(__file__).with_name("models")
# `make test-parallel` runs these tests once more, with every model in two worker processes.
WORKERS = int(os.environ.get("TEST_WORKERS", "0"))
# And with another gRPC server than the service has by itself.
GRPC_SERVER = os.environ.get("TEST_GRPC_SERVER")


def make_folder(folder: Path, *, language: bool = False, **settings: Any) -> Path:
    """A folder to serve: the project's settings and models, and the tests' own models.

    Args:
        language: language-model too, which takes a second and 300 MB that others can do without.
        settings: override settings.json; `streaming` is merged into its block.
    """
    whole = json.loads((ROOT / "settings.json").read_text())
    whole["parallel_workers"] = WORKERS
    grpc = {"grpc": {"server": GRPC_SERVER}} if GRPC_SERVER else {}
    whole["streaming"] |= grpc | settings.pop("streaming", {})
    # The ports come from the environment, and settings.json would win over it.
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(whole | settings))
    left_out = shutil.ignore_patterns(*([] if language else ["language"]))
    shutil.copytree(ROOT / "model-settings", folder / "model-settings", ignore=left_out)
    shutil.copytree(MODELS, folder / "model-settings", dirs_exist_ok=True)
    # One that must not be found: it does not lie below model-settings/.
    shutil.copytree(MODELS / "probe", folder / "elsewhere" / "outside")
    outside = folder / "elsewhere" / "outside" / "model-settings.json"
    outside.write_text(outside.read_text().replace('"probe"', '"outside"'))
    return folder


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The project's service with the tests' models beside its own."""
    folder = make_folder(tmp_path_factory.mktemp("service"))
    with WarmService(folder, folder / "server.log") as running:
        yield running
