"""The wheel, as someone has it who has nothing else of this project.

One environment: the first tests have the wheel alone in it, the last ones its extras too. With two,
most of the time would go into compiling the same packages twice.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest

from clients.service import Service
from mlserver_streaming.cli.init import FILES, MODEL
from tests.live.service import ROOT
from tests.runtimes.onnx_files import brightness_detector

SOURCES = ("mlserver_streaming", "clients", "runtimes", "model-settings")
NAME = "mlserver_streaming"
# What a folder of somebody's own may be called, without being ours.
ONCE_OURS = ("clients", "serving", "audio", "vision", "runtimes")
UV = shutil.which(
    "uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)
pytestmark = pytest.mark.skipif(UV is None, reason="uv is not installed; make setup installs it")


def uv_environment() -> Mapping[str, str]:
    """As in the Makefile: the index that pip was told of, and whom it was told to trust."""
    told = {}
    if index := os.environ.get("UV_INDEX_URL", os.environ.get("PIP_INDEX_URL")):
        told["UV_DEFAULT_INDEX"] = index
    if trusted := os.environ.get("PIP_CERT"):
        told["SSL_CERT_FILE"] = trusted
    return {**told, **os.environ}


def uv(*arguments: str | Path) -> None:
    command = [str(UV), *map(str, arguments)]
    ended = subprocess.run(command, env=uv_environment(), capture_output=True, text=True)
    if re.search("error sending request|Failed to fetch|dns error", ended.stderr):
        pytest.skip(f"no package registry can be reached: {ended.stderr.splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr


class Environment:
    """A Python environment with the wheel in it."""

    def __init__(self, path: Path, *packages: str):
        self.path = path
        uv("venv", "--quiet", "--python", sys.executable, path)
        self.install(*packages)

    def install(self, *packages: str) -> None:
        constraints = ROOT / "constraints.txt"
        where = ("--quiet", "--python", self.path, "--constraint", constraints)
        uv("pip", "install", *where, *packages)

    def command(self, name: str) -> str:
        return str(self.path / "bin" / name)

    def run(
        self, name: str, *arguments: str, folder: Path | None = None, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of it, in a folder that has nothing of ours."""
        ended = subprocess.run(
            [self.command(name), *arguments],
            cwd=folder or self.path,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == status, f"{ended.stdout}\n{ended.stderr}"
        return ended


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    unbuilt = shutil.ignore_patterns("__pycache__", "*.onnx")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=unbuilt)
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix in {".toml", ".md", ".txt", ".in", ".json", ""}:
            shutil.copy(path, source)
    # The sources first, and the wheel from those: what they lack, it lacks.
    uv("build", "--quiet", "--out-dir", folder / "dist", source)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("bare") / "env", str(wheel))


@pytest.fixture(scope="module")
def whole(bare: Environment, wheel: Path) -> Environment:
    bare.install(f"mlserver-streaming[all] @ {wheel.as_uri()}", "pytest")
    return bare


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory, bare: Environment) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere") / "mine"
    bare.run("mlserver-streaming", "init", str(folder))
    return folder


def test_it_installs_one_name_and_all_that_belongs_to_it(bare: Environment) -> None:
    code = (
        "from importlib.metadata import files\n"
        "print(*sorted(map(str, files('mlserver-streaming'))), sep='\\n')"
    )
    installed = set(bare.run("python", "-c", code).stdout.split())
    information = f"{NAME}-{version('mlserver-streaming')}.dist-info"
    assert {Path(name).parts[0] for name in installed if not name.startswith("..")} == {
        NAME,
        information,
    }
    assert [name for name in installed if name.startswith("..")] == [
        "../../../bin/mlserver-streaming"
    ]
    modules = {
        f"{NAME}/{path.relative_to(root)}"
        for root, folder in ((ROOT / NAME, "."), (ROOT, "clients"), (ROOT, "runtimes"))
        for path in (root / folder).rglob("*.py")
    }
    data = {f"{NAME}/cli/template/{name}" for name in FILES} | {f"{NAME}/py.typed"}
    page = ROOT / NAME / "playground" / "page"
    data |= {f"{NAME}/playground/page/{path.name}" for path in page.iterdir()}
    assert {name for name in installed if name.startswith(f"{NAME}/")} == modules | data


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("mlserver-streaming text hello", "The SSE client needs the extra 'clients'"),
        ("mlserver-streaming video", "The video client needs the extra 'clients'"),
        ("mlserver-streaming speech a.wav", "The speech client needs the extra 'clients'"),
        (f"python -m {NAME}.clients.sse_client hello", "The SSE client needs the extra 'clients'"),
    ],
    ids=["text", "video", "speech", "module"],
)
def test_without_its_extra_a_program_says_which_to_install(
    bare: Environment, program: str, says: str
) -> None:
    name, *arguments = program.split()
    ended = bare.run(name, *arguments, status=1)
    assert ended.stdout == ""
    assert ended.stderr == f"Error: {says}: pip install 'mlserver-streaming[clients]'\n"


def test_without_its_extra_a_runtime_says_which_to_install(bare: Environment) -> None:
    code = f"""
from pathlib import Path
from mlserver.errors import MLServerError
from {NAME}.runtimes.detection.onnx_detector import OnnxDetector
from {NAME}.runtimes.detection.tracking import Tracker

for make in (lambda: OnnxDetector(Path("model.onnx")), lambda: Tracker(0.5)):
    try:
        make()
    except MLServerError as error:
        print(error.status_code, error)
"""
    assert bare.run("python", "-c", code).stdout.splitlines() == [
        "501 The detector needs the extra 'video': pip install 'mlserver-streaming[video]'",
        "501 Tracking needs the extra 'video': pip install 'mlserver-streaming[video]'",
    ]


def test_a_new_folder_is_served_without_any_extra(
    bare: Environment, mine: Path, tmp_path: Path
) -> None:
    (line,) = re.findall("^curl -N .*", (mine / "README.md").read_text(), re.MULTILINE)
    command = (bare.command("mlserver"), "start", str(mine))
    with Service(tmp_path / "log", folder=bare.path, command=command, PYTHONPATH="") as service:
        asked = line.replace("localhost:8080", f"127.0.0.1:{service.http}").replace(
            "curl", "curl -s"
        )
        said = subprocess.run(asked, shell=True, capture_output=True, text=True, check=True).stdout
        data = [json.loads(each[6:]) for each in said.splitlines() if each.startswith("data: ")]
        assert "".join(each["text_output"] for each in data) == "HELLO FROM MY MODEL "
        over_grpc = ("text", "--grpc", "--port", str(service.grpc), "--model", "my-model")
        said = bare.run("mlserver-streaming", *over_grpc, "hello there", "and again").stdout
        assert said == "HELLO THERE \nAND AGAIN \n"
        assert service.stop() == 0


def test_the_new_folder_s_own_test_passes(whole: Environment, mine: Path) -> None:
    assert "1 passed" in whole.run("pytest", "-q", folder=mine).stdout


def test_start_serves_a_folder_whose_own_names_are_once_ours_with_the_runtimes_and_clients(
    whole: Environment, mine: Path, tmp_path: Path
) -> None:
    """No settings.json, no PYTHONPATH; the detector, and the video client that asks it."""
    folder = tmp_path / "folder"
    for name in ONCE_OURS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
    code = (mine / MODEL / "my_model.py").read_text()
    (folder / "runtimes" / "shouting.py").write_text(code)
    add_model(folder, "shouting", "runtimes.shouting.MyModel")
    detector = f"{NAME}.runtimes.detector.DetectorModel"
    place = add_model(folder, "detector", detector, parameters={"uri": "./model.onnx"})
    brightness_detector(place / "model.onnx")

    command = (whole.command("mlserver-streaming"), "start", ".")
    variables = {"PYTHONPATH": "", "MLSERVER_PARALLEL_WORKERS": "0"}
    with Service(tmp_path / "log", folder=folder, command=command, **variables) as service:
        text = ("text", "--port", str(service.http), "--model", "shouting", "hello there")
        assert whole.run("mlserver-streaming", *text).stdout == "HELLO THERE \n"
        results = ("--results-dir", str(tmp_path / "results"), "--max-frames", "5")
        video = ("video", "--port", str(service.grpc), "--model", "detector", *results)
        assert "5 frames" in whole.run("mlserver-streaming", *video).stdout
        assert service.stop() == 0
    counts = (tmp_path / "results" / "frame_counts.jsonl").read_text().splitlines()
    assert len(counts) == 5
    assert (tmp_path / "results" / "annotated.mp4").stat().st_size > 0


def add_model(folder: Path, name: str, implementation: str, **settings: object) -> Path:
    place = folder / "model-settings" / name
    place.mkdir(parents=True)
    (place / "model-settings.json").write_text(
        json.dumps({"name": name, "implementation": implementation, **settings})
    )
    return place
