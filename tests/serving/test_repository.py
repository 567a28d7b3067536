"""The door: models are found below model-settings/ and nowhere else."""

import json
from pathlib import Path

import pytest
from mlserver.errors import ModelNotFound
from mlserver.repository import ModelRepositoryFactory
from mlserver.settings import Settings

from serving.repository import ModelSettingsRepository

ROOT = Path(__file__).resolve().parents[2]


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
    assert found == {path.parent.name for path in ROOT.glob("model-settings/*/*.json")}
    assert {"text-model", "jpeg-model"} <= found


async def test_a_folder_without_models_serves_none(tmp_path: Path) -> None:
    assert await ModelSettingsRepository(str(tmp_path)).list() == []


async def test_one_broken_model_does_not_hide_the_others(tmp_path: Path) -> None:
    put_model(tmp_path / "model-settings" / "good", "good")
    put_model(tmp_path / "model-settings" / "bad", "bad")
    (tmp_path / "model-settings" / "bad" / "model-settings.json").write_text("{")
    found = await ModelSettingsRepository(str(tmp_path)).list()
    assert [settings.name for settings in found] == ["good"]


def test_the_shipped_settings_open_this_door() -> None:
    shipped = json.loads((ROOT / "settings.json").read_text())
    repository = ModelRepositoryFactory.resolve_model_repository(
        Settings(**{key: value for key, value in shipped.items() if key != "streaming"})
    )
    assert isinstance(repository, ModelSettingsRepository)
    assert shipped["debug"] is False
