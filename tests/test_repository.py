"""The door: what is found is told, and what a model must know of the service reaches it."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from mlserver.errors import ModelNotFound
from mlserver.repository import ModelRepositoryFactory
from mlserver.settings import Settings

from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.repository import ModelSettingsRepository

ROOT = Path(__file__).resolve().parents[1]


def put_model(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    settings = {"name": name, "implementation": "mlserver.MLModel"}
    (folder / "model-settings.json").write_text(json.dumps(settings))


async def test_only_what_lies_below_model_settings_is_served(tmp_path: Path) -> None:
    put_model(tmp_path / "model-settings" / "a", "a")
    put_model(tmp_path / "model-settings" / "group" / "b", "b")
    for elsewhere in ("tests/live/c", "benchmarks/d", ".venv/lib/e", "models/f"):
        put_model(tmp_path / elsewhere, elsewhere[-1])
    (tmp_path / "model-settings.json").write_text('{"name": "g", "implementation": "x.Y"}')
    repository = ModelSettingsRepository(str(tmp_path))
    assert sorted(settings.name for settings in await repository.list()) == ["a", "b"]
    assert [settings.name for settings in await repository.find("b")] == ["b"]
    with pytest.raises(ModelNotFound):
        await repository.find("c")


@pytest.mark.parametrize("root", [".", str(ROOT), f"{ROOT}/"])
async def test_the_project_serves_its_models_and_none_of_the_tests(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    found = {settings.name for settings in await ModelSettingsRepository(root).list()}
    files = ROOT.glob("model-settings/*/*.json")
    shipped = {json.loads(path.read_text())["name"] for path in files}
    # The detector is served where somebody has put a model's file.
    assert found | {"detector"} == shipped
    assert {"text-model", "jpeg-model", "motion"} <= found


async def test_a_model_is_left_out_until_its_file_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = {"file": "./weights.bin", "far": "grpc://there:8001", "bucket": "s3://there/weights"}
    for name, uri in {**places, "folder": "."}.items():
        put_model(tmp_path / "model-settings" / name, name)
        path = tmp_path / "model-settings" / name / "model-settings.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "parameters": {"uri": uri}}))
    caplog.set_level(logging.INFO, logger="mlserver")
    repository = ModelSettingsRepository(str(tmp_path))
    found = {settings.name for settings in await repository.list()}
    assert found == {"far", "bucket", "folder"}
    with pytest.raises(ModelNotFound):
        await repository.find("file")
    await asyncio.sleep(0)  # it is told in the loop's next turn
    told = [record.message for record in caplog.records if "is not served" in record.message]
    assert len(told) == 1
    assert told[0].startswith(
        "Model 'file' of model-settings/file/model-settings.json is not served: there is no "
    )
    assert "weights.bin. Put its file there" in told[0]
    (tmp_path / "model-settings" / "file" / "weights.bin").write_text("")
    assert [settings.name for settings in await repository.find("file")] == ["file"]


async def test_a_folder_without_models_serves_none(tmp_path: Path) -> None:
    assert await ModelSettingsRepository(str(tmp_path)).list() == []


async def test_one_broken_model_does_not_hide_the_others(tmp_path: Path) -> None:
    put_model(tmp_path / "model-settings" / "good", "good")
    put_model(tmp_path / "model-settings" / "bad", "bad")
    (tmp_path / "model-settings" / "bad" / "model-settings.json").write_text("{")
    found = await ModelSettingsRepository(str(tmp_path)).list()
    assert [settings.name for settings in found] == ["good"]


@pytest.mark.parametrize("extra", [None, {}, {"max_sequences": 3, "other": 1}])
async def test_models_hear_of_the_limits_beside_their_own_settings(
    tmp_path: Path, extra: dict[str, int] | None
) -> None:
    limits = {"sequences": 5, "sequence_idle_seconds": 0.5}
    (tmp_path / "settings.json").write_text(json.dumps({"streaming": {"limits": limits}}))
    put_model(tmp_path / "model-settings" / "m", "m")
    file = tmp_path / "model-settings" / "m" / "model-settings.json"
    parameters = {} if extra is None else {"parameters": {"extra": extra, "uri": "."}}
    file.write_text(json.dumps(json.loads(file.read_text()) | parameters))
    [settings] = await ModelSettingsRepository(str(tmp_path)).list()
    assert settings.parameters is not None
    # A runtime that takes `extra` for its own finds nothing there that its user did not put there.
    assert settings.parameters.extra == (extra or {})
    assert settings.parameters.model_extra == {"max_sequences": 5, "sequence_idle_seconds": 0.5}
    model = StreamingModel(settings)
    assert model.setting("max_sequences", 9) == (extra or {}).get("max_sequences", 5)
    assert model.setting("sequence_idle_seconds", 9) == 0.5
    assert model.setting("unheard_of", 9) == 9


def test_the_shipped_settings_open_this_door() -> None:
    shipped = json.loads((ROOT / "settings.json").read_text())
    repository = ModelRepositoryFactory.resolve_model_repository(
        Settings(**{key: value for key, value in shipped.items() if key != "streaming"})
    )
    assert isinstance(repository, ModelSettingsRepository)
    assert shipped["debug"] is False
