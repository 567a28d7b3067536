"""Which models streams are using, so that an unload waits for them."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlserver import MLModel
from mlserver.logging import logger


class InUse:
    """Counts the streams of each model, and holds its `unload` back until there are none.

    MLServer unloads a model as soon as it is asked to, and the old one as soon as a reload is done.
    """

    def __init__(self) -> None:
        self._streams: dict[MLModel, int] = {}
        # What to do, besides, when a model is unloaded.
        self._met: dict[MLModel, list[Callable[[], None]]] = {}
        self._idle: dict[MLModel, asyncio.Event] = {}
        self._unloading: set[asyncio.Task[None]] = set()

    @contextmanager
    def hold(self, model: MLModel) -> Iterator[None]:
        """A stream uses the model."""
        self.begin(model)
        try:
            yield
        finally:
            self.end(model)

    def begin(self, model: MLModel) -> None:
        """A stream uses the model, until its `end`."""
        self._streams[model] = self._streams.get(model, 0) + 1

    def end(self, model: MLModel) -> None:
        """It does no more."""
        left = self._streams[model] - 1
        if left:
            self._streams[model] = left
            return
        del self._streams[model]
        if idle := self._idle.pop(model, None):
            idle.set()

    def meet(self, model: MLModel) -> bool:
        """Hold a model's `unload` back from now on; whether it was met for the first time."""
        if model in self._met:
            return False
        then = self._met[model] = []
        unload = model.unload

        async def unload_now() -> bool:
            self._met.pop(model, None)
            for each in then:
                each()
            return await unload()

        async def patiently() -> bool:
            if model not in self._streams:
                return await unload_now()
            idle = self._idle.setdefault(model, asyncio.Event())

            async def when_idle() -> None:
                await idle.wait()
                try:
                    await unload_now()
                except Exception:
                    # Nobody waits for this any more.
                    logger.exception("Model '%s' could not be unloaded.", model.name)
                else:
                    logger.info("Unloaded model '%s' after its last stream.", model.name)

            task = asyncio.create_task(when_idle())
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)
            return True

        model.unload = patiently  # type: ignore[method-assign]
        return True

    def on_unload(self, model: MLModel, then: Callable[[], None]) -> None:
        """Call `then` when a model that was met is unloaded."""
        self._met[model].append(then)
