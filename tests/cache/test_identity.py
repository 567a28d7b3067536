"""Which model answers: what changes its identity, and what does not."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.registry import MultiModelRegistry
from mlserver.settings import ModelParameters, ModelSettings

from mlserver_streaming.cache.identity import Identities


class Model(MLModel):
    async def load(self) -> bool:
        return True


class Other(Model):
    pass


async def identity(
    runtime: type[MLModel] = Model, uri: Path | str | None = None, **settings: Any
) -> bytes:
    """Of a model that a registry has just loaded."""
    registry = MultiModelRegistry(model_initialiser=runtime)
    identities = Identities(registry)
    return await identities.of(await registry.load(made(uri, **settings)))


def made(uri: Path | str | None = None, **settings: Any) -> ModelSettings:
    extra = settings.pop("extra", None)
    beside = settings.pop("beside", {})
    parameters = ModelParameters(uri=None if uri is None else str(uri), extra=extra, **beside)
    given = {"name": "m", "cache_enabled": True, **settings}
    return ModelSettings(implementation=MLModel, parameters=parameters, **given)


async def test_the_same_model_has_the_same_identity_in_every_process():
    assert await identity() == await identity()


@pytest.mark.parametrize(
    "other",
    [
        {"name": "n"},
        {"extra": {"quality": 5}},
        {"beside": {"version": "2"}},
        {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1]}]},
        {"uri": "s3://bucket/weights"},
    ],
)
async def test_other_settings_are_another_model(other: dict[str, Any]):
    assert await identity(**other) != await identity()


async def test_another_runtime_is_another_model():
    assert await identity(Other) != await identity(Model)


async def test_how_a_model_is_run_is_no_part_of_it():
    run = {"max_sequences": 5, "sequence_idle_seconds": 1.0}
    assert await identity(beside=run) == await identity()


async def test_weights_count_by_what_is_in_them(tmp_path: Path):
    found = []
    for folder, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights").write_bytes(content)
        found.append(await identity(uri=tmp_path / folder / "weights"))
        found.append(await identity(uri=tmp_path / folder))
    assert found[0] == found[2] != found[4]
    assert found[1] == found[3] != found[5]
    (tmp_path / "b" / "weights").rename(tmp_path / "b" / "renamed")
    assert await identity(uri=tmp_path / "b") != found[3]


async def test_weights_that_were_replaced_since_they_were_loaded_are_nobody_s(tmp_path: Path):
    weights = tmp_path / "weights"
    weights.write_bytes(b"one")
    whole = await identity(uri=weights)
    registry = MultiModelRegistry(model_initialiser=Model)
    identities = Identities(registry)
    model = await registry.load(made(weights))
    weights.write_bytes(b"two")
    found = await identities.of(model)
    assert found not in (whole, await identity(uri=weights))
    assert await identities.of(model) == found


async def test_once_known_an_identity_stays_until_the_model_is_loaded_again(tmp_path: Path):
    weights = tmp_path / "weights"
    weights.write_bytes(b"one")
    registry = MultiModelRegistry(model_initialiser=Model)
    identities = Identities(registry)
    model = await registry.load(made(weights))
    first = await identities.of(model)
    weights.write_bytes(b"two")
    assert await identities.of(model) == first
    again = await registry.load(made(weights))
    assert await identities.of(again) == await identity(uri=weights) != first


async def test_a_model_without_the_cache_is_not_read(tmp_path: Path):
    registry = MultiModelRegistry(model_initialiser=Model)
    identities = Identities(registry)
    await registry.load(made(tmp_path / "weights", cache_enabled=False))
    assert identities._loaded == {}


async def test_a_model_that_is_gone_is_forgotten():
    registry = MultiModelRegistry(model_initialiser=Model)
    identities = Identities(registry)
    for _ in range(5):
        await identities.of(await registry.load(made()))
    gc.collect()
    assert len(identities._loaded) == len(identities._found) == 1
