"""Models that cannot be loaded: known for it, and nobody else suffers."""

import logging
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.errors import ModelNotFound
from mlserver.settings import ModelParameters, ModelSettings

from mlserver_streaming.errors import NotLoadedError
from mlserver_streaming.load_failure import LoadError
from mlserver_streaming.streams.model_registry import ModelRegistry
from mlserver_streaming.streams.start import Start


class Fails(MLModel):
    """Fails as its platform says."""

    async def load(self) -> bool:
        match self.settings.platform:
            case "raises":
                raise RuntimeError("at first")
            case "exits":
                raise SystemExit(0)
        return True

    async def unload(self) -> bool:
        if self.settings.platform:
            raise RuntimeError("afterwards")
        return True


def settings(name: str, how: str = "", version: str | None = None) -> ModelSettings:
    return ModelSettings(
        name=name,
        platform=how,
        implementation=Fails,
        parameters=ModelParameters(version=version),
    )


@pytest.fixture
def registry() -> ModelRegistry:
    found = ModelRegistry()
    found.start = Start(stops=False)
    return found


@pytest.mark.parametrize(
    ("how", "said"), [("raises", "RuntimeError: at first"), ("exits", "SystemExit: 0")]
)
@pytest.mark.parametrize("version", [None, "1"])
async def test_a_model_that_fails_is_not_there_and_known_for_it(
    how: str, said: str, version: str | None, registry: ModelRegistry
) -> None:
    with pytest.raises(LoadError, match=said):
        await registry.attempt(settings("m", how, version))
    assert registry.failures["m", version].error == said
    for asked in {None, version}:
        with pytest.raises(NotLoadedError) as refused:
            await registry.get_model("m", asked)
        assert refused.value.status_code == 503
    with pytest.raises(ModelNotFound):
        await registry.get_model("m", "another")
    assert list(await registry.get_models()) == []
    await registry.attempt(settings("m", "", version))
    assert registry.failures == {}
    assert (await registry.get_model("m", version)).ready


async def test_another_version_is_served_meanwhile(registry: ModelRegistry) -> None:
    await registry.attempt(settings("m", "", "1"))
    with pytest.raises(LoadError):
        await registry.attempt(settings("m", "raises", "2"))
    assert (await registry.get_model("m")).version == "1"
    with pytest.raises(NotLoadedError):
        await registry.get_model("m", "2")


@pytest.mark.parametrize("how", ["raises", "exits"])
async def test_the_one_before_stays_where_its_successor_fails(
    how: str, registry: ModelRegistry
) -> None:
    before = await registry.attempt(settings("m"))
    with pytest.raises(LoadError):
        await registry.attempt(settings("m", how))
    assert await registry.get_model("m") is before
    assert before.ready
    assert registry.failures == {}


async def test_unloaded_it_is_unknown_again(registry: ModelRegistry) -> None:
    with pytest.raises(LoadError):
        await registry.attempt(settings("m", "raises"))
    await registry.unload("m")
    with pytest.raises(ModelNotFound):
        await registry.get_model("m")


async def test_at_the_start_the_others_are_served_and_the_log_has_it_once(
    registry: ModelRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    await registry.load(settings("m", "raises"))
    await registry.load(settings("n"))
    assert (await registry.get_model("n")).ready
    [told] = [record for record in caplog.records if record.levelno == logging.ERROR]
    first, second, *_ = told.getMessage().splitlines()
    assert first.startswith("Model 'm' cannot be loaded: ")
    assert second == "Traceback (most recent call last):"


async def test_or_the_start_ends(monkeypatch: pytest.MonkeyPatch, registry: ModelRegistry) -> None:
    silenced: list[Any] = []
    monkeypatch.setattr(logging, "disable", lambda: silenced.append(True))
    registry.start = Start(stops=True)
    with pytest.raises(SystemExit, match=r"^Model 'm' cannot be loaded: .*RuntimeError: at first$"):
        await registry.load(settings("m", "raises"))
    assert silenced
    registry.start = Start(stops=True, is_stopping=lambda: True)
    await registry.load(settings("m", "raises"))


# -- versions --


async def test_a_version_that_the_settings_list_can_be_asked_for(registry: ModelRegistry) -> None:
    for version, labels in [(None, ["text/v1.2.3"]), ("7", ["lib/0.20", "text/v1.2.3"])]:
        found = settings("m", version=version)
        found.versions = labels
        await registry.attempt(found)
    assert [model.version for model in await registry.of_name("m")] == [None, "7"]
    # The newest that has it.
    for asked, version in [("text/v1.2.3", None), ("lib/0.20", "7"), ("7", "7"), ("1", None)]:
        assert (await registry.get_model("m", asked)).version == version
    with pytest.raises(ModelNotFound):
        await registry.get_model("m", "lib/0.21")
    with pytest.raises(ModelNotFound):
        await registry.get_model("n", "lib/0.20")


async def test_only_a_model_without_a_version_is_version_1(registry: ModelRegistry) -> None:
    await registry.attempt(settings("m", version="7"))
    with pytest.raises(ModelNotFound):
        await registry.get_model("m", "1")
