"""A model that streams use is unloaded after the last of them."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from mlserver import MLModel
from mlserver.settings import ModelSettings

from mlserver_streaming.streams.in_use import InUse


class Model(MLModel):
    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(ModelSettings(name="m", implementation=MLModel))
        self.unloaded = 0
        self._error = error

    async def unload(self) -> bool:
        self.unloaded += 1
        if self._error is not None:
            raise self._error
        return True


async def unloading(in_use: InUse) -> None:
    """Wait for the unloads that went on by themselves."""
    await asyncio.gather(*in_use._unloading)


async def test_a_model_that_nothing_uses_is_unloaded_at_once():
    in_use, model = InUse(), Model()
    assert in_use.meet(model)
    with in_use.hold(model):
        pass
    assert await model.unload()
    assert model.unloaded == 1


async def test_a_model_in_use_is_unloaded_after_its_last_stream():
    in_use, model = InUse(), Model()
    in_use.meet(model)
    with in_use.hold(model):
        with in_use.hold(model):
            # MLServer goes on: it must not wait for a stream of hours.
            assert await model.unload()
        await asyncio.sleep(0)
        assert not model.unloaded
    await unloading(in_use)
    assert model.unloaded == 1


async def test_a_model_is_met_once():
    in_use, model = InUse(), Model()
    assert [in_use.meet(model), in_use.meet(model)] == [True, False]
    await model.unload()
    assert model.unloaded == 1


async def test_models_do_not_wait_for_one_another():
    in_use, busy, idle = InUse(), Model(), Model()
    in_use.meet(busy)
    in_use.meet(idle)
    with in_use.hold(busy):
        await idle.unload()
        assert idle.unloaded == 1


@pytest.mark.parametrize("held", [False, True])
async def test_what_else_is_to_be_done_is_done_when_it_is_unloaded(held: bool):
    in_use, model = InUse(), Model()
    in_use.meet(model)
    done: list[int] = []
    in_use.on_unload(model, lambda: done.append(model.unloaded))
    if held:
        with in_use.hold(model):
            await model.unload()
            await asyncio.sleep(0)
            assert not done
        await unloading(in_use)
    else:
        await model.unload()
    assert done == [0]


async def test_an_unload_that_fails_is_raised_or_logged(caplog: pytest.LogCaptureFixture):
    in_use, model = InUse(), Model(ValueError("no"))
    in_use.meet(model)
    with pytest.raises(ValueError, match="no"):
        await model.unload()
    with in_use.hold(model):
        assert await model.unload()
    await unloading(in_use)
    assert "'m' could not be unloaded" in caplog.text


async def test_nothing_is_kept_of_a_model_that_has_gone():
    in_use, model = InUse(), Model()
    in_use.meet(model)
    in_use.on_unload(model, lambda: None)
    with in_use.hold(model):
        await model.unload()
    await unloading(in_use)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert not in_use._streams and not in_use._idle and not in_use._met
