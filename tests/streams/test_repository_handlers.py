"""Who loaded and unloaded what: one line each, of what was refused too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from mlserver.errors import MLServerError

from mlserver_streaming.access.callers import ADMIN, ANYBODY, INFER, Caller, set_current
from mlserver_streaming.streams.repository_handlers import GuardedRepositoryHandlers
from mlserver_streaming.watch import stream_log

BOSS = Caller("boss", frozenset({ADMIN}), frozenset({"m", "broken", "no such", "slow"}))
USER = Caller("user", frozenset({INFER}))


class Models:
    """A registry that knows "m" only, and waits for ever to unload "slow"."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def attempt(self, settings: Any) -> Any:
        raise RuntimeError("traceback")

    async def get_models(self, name: str) -> list[Any]:
        return []

    async def unload(self, name: str) -> None:
        if name == "slow":
            self.begun.set()
            await asyncio.Event().wait()
        if name != "m":
            raise MLServerError("no such model", 404)


class Repository:
    async def find(self, name: str) -> list[Any]:
        if name == "broken":
            return [name]
        if name != "m":
            raise MLServerError("no such model", 404)
        return []


@pytest.fixture
def handlers() -> GuardedRepositoryHandlers:
    repository: Any = Repository()
    models: Any = Models()
    return GuardedRepositoryHandlers(repository, models)


class Lines(logging.Handler):
    """What was written, without the seconds that it took."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage().rpartition(" seconds=")[0])


@pytest.fixture
def lines() -> Iterator[Lines]:
    found, logger = Lines(), stream_log.repository
    logger.addHandler(found)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(found)
    logger.setLevel(logging.NOTSET)


async def call(caller: Caller, does: Callable[[str], Awaitable[bool]], name: str) -> None:
    async def as_caller() -> None:
        set_current(caller)
        with suppress(MLServerError, RuntimeError):
            await does(name)

    await asyncio.create_task(as_caller())


async def test_each_call_leaves_a_line_with_its_key(
    handlers: GuardedRepositoryHandlers, lines: Lines
):
    for caller, does, name in (
        (BOSS, handlers.load, "m"),
        (BOSS, handlers.unload, "m"),
        (BOSS, handlers.load, "no such"),
        (BOSS, handlers.unload, "another's"),
        (BOSS, handlers.load, "broken"),
        (USER, handlers.load, "m"),
        (ANYBODY, handlers.load, "m"),
        (ANYBODY, handlers.load, "x" * 10_000 + "\n"),
        (ANYBODY, handlers.load, "a\nb"),
    ):
        await call(caller, does, name)
    assert lines.found == [
        "repository call: call=load model=m key=boss result=loaded",
        "repository call: call=unload model=m key=boss result=unloaded",
        'repository call: call=load model="no such" key=boss result=404',
        "repository call: call=unload model=another's key=boss result=403",
        "repository call: call=load model=broken key=boss result=500",
        "repository call: call=load model=m key=user result=403",
        'repository call: call=load model=m key="" result=loaded',
        f'repository call: call=load model={"x" * 128}... key="" result=404',
        'repository call: call=load model="a\\nb" key="" result=404',
    ]


async def test_one_that_is_given_up_leaves_a_line_too(
    handlers: GuardedRepositoryHandlers, lines: Lines
):
    task = asyncio.create_task(call(BOSS, handlers.unload, "slow"))
    await handlers._model_registry.begun.wait()  # type: ignore[attr-defined]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lines.found == ["repository call: call=unload model=slow key=boss result=cancelled"]
