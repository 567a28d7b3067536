"""`mlserver-streaming check`: it survives every model, and each problem is a line."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clients.server_process import free_ports
from mlserver_streaming.access.keys import main as keys
from mlserver_streaming.cli.check import main
from mlserver_streaming.cli.init import main as init
from mlserver_streaming.cli.report import Report
from mlserver_streaming.cli.secret_files import check_tls
from mlserver_streaming.settings import TlsSettings
from tests.certificates import Authority

MODELS = {
    "whole": "from mlserver import MLModel\nimport helper\nclass Model(MLModel): pass",
    "talks": "from mlserver import MLModel\nprint('{}')\nclass Model(MLModel): pass",
    "needs-torch": "import torch_that_is_not_there",
    "exits": "import os\nos._exit(3)",
    "dies": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "gives-up": "raise SystemExit('not today')",
    "wrong-name": "class Modell: pass",
    "wrong-text": "class Model:",
}


def add_model(folder: Path, name: str, code: str, **settings: Any) -> None:
    place = folder / "model-settings" / name
    place.mkdir(parents=True)
    (place / "model.py").write_text(code + "\n")
    settings = {"name": name, "implementation": "model.Model", **settings}
    (place / "model-settings.json").write_text(json.dumps(settings))


def check(folder: Path, **environment: str) -> tuple[int, str]:
    command = Path(sys.executable).with_name("mlserver-streaming")
    ended = subprocess.run(
        [str(command), "check", folder.name],
        cwd=folder.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert ended.stderr == ""
    return ended.returncode, ended.stdout


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, taken: int) -> tuple[int, str]:
    """What is said of a folder that has everything wrong with it."""
    folder = tmp_path_factory.mktemp("check") / "odd"
    for name, code in MODELS.items():
        add_model(folder, name, code)
    (folder / "model-settings" / "whole" / "helper.py").write_text("")
    add_model(folder, "waits", "", parameters={"uri": "./weights.bin", "version": "v2"})
    add_model(folder, "broken", "")
    (folder / "model-settings" / "broken" / "model-settings.json").write_text("{")
    (folder / "cert.pem").write_bytes(Authority().server().chain)
    (folder / "key.pem").write_bytes(Authority().server().key)
    settings = {
        "model_repository_implementation": "mlserver_streaming.repository.ModelSettingsRepository",
        "host": "127.0.0.1",
        "http_port": taken,
        "paralel_workers": 2,
        "streaming": {
            "tls": {"certificate": "cert.pem", "key": "key.pem"},
            "auth": {"keys_file": "keys.json"},
            "triton_port": 8082,
        },
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return check(folder, STREAMING_LIMITS__STREAMS="5", MLSERVER_SERVER_NAME="ours")


def problem(said: str, about: str) -> str:
    """The one problem about something."""
    problems = said.partition(" problems\n")[2].splitlines()
    (found,) = [line for line in problems if about in line]
    return found


def test_each_model_is_named_with_what_serves_it(odd: tuple[int, str]) -> None:
    status, said = odd
    assert status == 1
    assert "Models, looked for below model-settings/" in said
    rows = [line.split() for line in said.splitlines()]
    for name in ("whole", "talks"):
        place = f"model-settings/{name}/model.py"
        assert [name, "no", "version", "model.Model", place] in rows


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("needs-torch", "model.py, line 1: ModuleNotFoundError: No module named 'torch_that_is"),
        ("exits", "ends the process with status 3"),
        ("dies", "ends the process with SIGKILL"),
        ("gives-up", "ends the process with status 1: not today"),
        ("wrong-name", "AttributeError: module 'model' has no 'Model'"),
        ("wrong-text", "IndentationError: expected an indented block"),
    ],
)
def test_a_runtime_that_cannot_be_made_is_a_problem(
    odd: tuple[int, str], model: str, says: str
) -> None:
    line = problem(odd[1], f"Model '{model}' cannot be loaded")
    assert says in line
    advice = "Install it where the service runs" if "torch" in model else "Correct it"
    assert advice in line


def test_what_is_passed_over_is_told_and_weights_that_are_to_come_are_no_problem(
    odd: tuple[int, str],
) -> None:
    assert "it is not JSON" in problem(odd[1], "Model 'broken'")
    passed = odd[1].partition("Passed over")[2].partition("Settings")[0]
    assert "there is no model-settings/waits/weights.bin" in passed
    assert "waits" not in odd[1].partition(" problems\n")[2]


def test_settings_are_told_with_where_they_were_read(odd: tuple[int, str]) -> None:
    rows = [line.split() for line in odd[1].splitlines()]
    assert ["server_name", "ours", "MLSERVER_SERVER_NAME"] in rows
    assert ["streaming.limits.streams", "5", "STREAMING_LIMITS__STREAMS"] in rows
    assert ["streaming.tls.certificate", "cert.pem", "settings.json"] in rows
    assert "'paralel_workers' in settings.json is no setting of MLServer" in odd[1]


def test_a_port_that_is_taken_and_one_that_is_given_twice(odd: tuple[int, str], taken: int) -> None:
    assert "choose another or stop what holds it" in problem(odd[1], f"Port {taken} of 127.0.0.1")
    assert "are both port 8082" in problem(odd[1], "'metrics_port' and 'streaming.triton_port'")


def test_keys_and_tls_files_that_cannot_be_used(odd: tuple[int, str]) -> None:
    assert "`mlserver-streaming keys add" in problem(odd[1], "file of keys odd/keys.json")
    assert "is not the key of odd/cert.pem" in problem(odd[1], '"streaming.tls.key"')


def test_names_of_modules_that_folders_share(odd: tuple[int, str]) -> None:
    notes = odd[1].partition("Notes\n")[2]
    assert "has a module 'model'" in notes
    assert "'helper'" not in notes


def test_a_folder_with_nothing_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    runner = CliRunner()
    assert runner.invoke(init, [str(folder)]).exit_code == 0
    for name in ("me", "gone"):
        file = ["--file", str(folder / "keys.json"), "--expires", "2999-01-31"]
        assert runner.invoke(keys, ["add", name, "--role", "infer", *file]).exit_code == 0
    made = (folder / "keys.json").read_text()
    (folder / "keys.json").write_text(made.replace("2999", "2020", 1))
    free = {
        f"{name}_PORT": str(port)
        for name, port in zip(
            ("MLSERVER_HTTP", "MLSERVER_GRPC", "MLSERVER_METRICS", "STREAMING_TRITON"),
            free_ports(4),
            strict=True,
        )
    }
    status, said = check(folder, STREAMING_AUTH__KEYS_FILE="keys.json", **free)
    assert (status, said.splitlines()[-1]) == (0, "Nothing is wrong.")
    assert "2 keys, 1 of them expired" in said
    assert "problem" not in said


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("{", "settings.json is not JSON"),
        ("[]", "settings.json must be a JSON object"),
        ('{"http_port": "eighty"}', '"http_port" in'),
        ('{"model_repository_implementation": "not.There"}', "No module named 'not'"),
        ('{"model_repository_implementation": "fails.There"}', "RuntimeError: it does not"),
        ('{"streaming": {"limits": {"streams": 0}}}', '"streaming.limits.streams"'),
    ],
)
def test_settings_that_cannot_be_read_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, says: str
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "fails.py").write_text("raise RuntimeError('it does not')")
    (folder / "settings.json").write_text(settings)
    # What it adds there is this process's own otherwise.
    monkeypatch.setattr(sys, "path", [*sys.path])
    ended = CliRunner().invoke(main, [str(folder)])
    assert ended.exit_code == 1
    problems = ended.output.partition(" problem")[2].splitlines()
    assert len([line for line in problems if says in line]) == 1
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("left", [timedelta(days=-1), timedelta(days=1)], ids=["over", "valid"])
def test_a_certificate_that_is_over_is_a_problem(tmp_path: Path, left: timedelta) -> None:
    certificate, key = Authority().server(left=left).write(tmp_path, "server")
    report = Report()
    check_tls(TlsSettings(certificate=certificate.name, key=key.name), tmp_path, report)
    if left > timedelta(0):
        assert report.problems == []
    else:
        (line,) = report.problems
        assert "expired on" in line and "Replace the file" in line
