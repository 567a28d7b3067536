"""Which models a folder has, and why others are passed over."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlserver_streaming.discovery import Findings, find_models


def put_model(folder: Path, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model-settings.json"
    file.write_text(json.dumps({"implementation": "model.Model", **settings}))
    return file


def named(found: Findings) -> list[tuple[str, str | None]]:
    return [(model.settings.name, model.folder) for model in found.models]


def test_where_there_is_a_models_folder_only_what_lies_below_it_is_found(tmp_path: Path) -> None:
    put_model(tmp_path / "model-settings" / "a")
    put_model(tmp_path / "model-settings" / "build" / "b")
    put_model(tmp_path / "elsewhere")
    put_model(tmp_path)
    found = find_models(str(tmp_path))
    assert found.way == "below model-settings/"
    assert named(found) == [("a", "model-settings/a"), ("b", "model-settings/build/b")]
    assert (found.passed_over, found.elsewhere) == ([], [])


def test_without_one_the_whole_folder_is_looked_at_but_not_what_was_installed_or_built(
    tmp_path: Path,
) -> None:
    put_model(tmp_path, name="at-the-root")
    put_model(tmp_path / "clients" / "runtimes", name="own")
    for passed in (
        *("venv/m", ".venv/m", ".git/m", "app/node_modules/m", "build/m", "dist/m", "x.egg-info"),
        *("lib/site-packages/m", "app/__pycache__"),
    ):
        put_model(tmp_path / passed, name="not-this")
    put_model(tmp_path / "mine" / "m", name="not-this")
    (tmp_path / "mine" / "pyvenv.cfg").write_text("")
    found = find_models(str(tmp_path))
    assert found.way == "in the whole folder"
    assert named(found) == [("at-the-root", "."), ("own", "clients/runtimes")]
    assert found.passed_over == []


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    put_model(tmp_path / "far" / "m")
    served = tmp_path / "served"
    served.mkdir()
    (served / "m").symlink_to(tmp_path / "far" / "m")
    (tmp_path / "far" / "m" / "circle").symlink_to(served)
    (served / "nowhere").symlink_to("nowhere")
    assert named(find_models(str(served))) == [("m", "m")]


def test_a_model_is_named_after_its_folder_and_its_files_lie_there(tmp_path: Path) -> None:
    put_model(tmp_path / "a")
    put_model(tmp_path / "b", name="c", parameters={"uri": "https://there/weights"})
    a, c = (model.settings for model in find_models(os.path.relpath(tmp_path)).models)
    assert a.name == "a"
    assert a.parameters is not None and a.parameters.uri == str(tmp_path / "a")
    assert c.name == "c"
    assert c.parameters is not None and c.parameters.uri == "https://there/weights"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1,\n}', "it is not JSON: line 2, column 1: "),
        (b"", "it is not JSON: line 1, column 1: "),
        (b"\xff", "it is not UTF-8 text."),
        (b"[" * 100_000, "it cannot be read: it is nested too deeply."),
        (b"[]", "it must be an object"),
        (b"{}", "field 'implementation' is missing."),
        (b'{"implementation": 3}', "field 'implementation': Input should be a valid string."),
        (b'{"implementation": "Model"}', "field 'implementation': 'Model' names no module"),
        (b'{"implementation": "a.B", "max_batch_size": "x"}', "field 'max_batch_size': "),
        (b'{"implementation": "a.B", "parameters": {"version": 1}}', "field 'parameters.version'"),
    ],
)
def test_settings_that_cannot_be_read_are_told_in_one_sentence_and_hide_no_other_model(
    text: bytes, reason: str, tmp_path: Path
) -> None:
    put_model(tmp_path / "good")
    put_model(tmp_path / "bad").write_bytes(text)
    found = find_models(str(tmp_path))
    assert named(found) == [("good", "good")]
    [passed] = found.faults
    assert (passed.name, passed.file) == ("bad", "bad/model-settings.json")
    assert passed.reason.startswith(reason)
    assert "\n" not in passed.reason and str(tmp_path) not in passed.reason
    assert passed.reason.endswith(".") and not passed.reason.endswith("..")


def test_the_same_name_and_version_twice_is_one_model_and_a_fault(tmp_path: Path) -> None:
    put_model(tmp_path / "a", name="m")
    put_model(tmp_path / "b", name="m", parameters={"version": "2"})
    put_model(tmp_path / "c", name="m", parameters={"version": "2"})
    found = find_models(str(tmp_path))
    assert named(found) == [("m", "a"), ("m", "b")]
    [passed] = found.faults
    assert passed.file == "c/model-settings.json"
    assert passed.reason == (
        "b/model-settings.json has version '2' of model 'm' too; give one of them another name or "
        "version."
    )


def test_a_model_without_its_weights_is_passed_over_and_no_fault(tmp_path: Path) -> None:
    put_model(tmp_path / "m", parameters={"uri": "./weights.bin"})
    found = find_models(str(tmp_path))
    assert (found.models, found.faults) == ([], [])
    assert found.passed_over[0].reason.startswith("there is no m/weights.bin. Put its file there")
    (tmp_path / "m" / "weights.bin").touch()
    assert named(find_models(str(tmp_path))) == [("m", "m")]


def test_where_none_is_found_it_is_told_where_there_would_be_some(tmp_path: Path) -> None:
    assert find_models(str(tmp_path)).elsewhere == []
    (tmp_path / "model-settings").mkdir()
    for folder in ("models/a", "models/b", "build/c", ".hidden/d", "venv/e"):
        put_model(tmp_path / folder)
    found = find_models(str(tmp_path))
    assert found.models == []
    assert found.elsewhere == [".hidden/d", "build/c", "models/a"]


def test_where_none_is_found_the_environment_may_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSERVER_MODEL_IMPLEMENTATION", "mlserver.MLModel")
    monkeypatch.setenv("MLSERVER_MODEL_NAME", "named")
    assert named(find_models(str(tmp_path))) == [("named", None)]
    monkeypatch.delenv("MLSERVER_MODEL_NAME")
    put_model(tmp_path / "m")
    assert named(find_models(str(tmp_path))) == [("m", "m")]
