"""Which models streams are using, so that an unload waits for them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from mlserver import MLModel
from mlserver.logging import logger


class InUse:
    """Counts the streams of each model, and holds its `unload` back until there are none.

    MLServer unloads a model as soon as it is asked to, and the old one as soon as a reload is done.
    """

    def __init__(self) -> None:
        self._streams: Counter[MLModel] = Counter()
        self._met: WeakSet[MLModel] = WeakSet()
        self._idle: dict[MLModel, asyncio.Event] = {}
        self._unloading: set[asyncio.Task[None]] = set()

    @contextmanager
    def hold(self, model: MLModel) -> Iterator[None]:
        """A stream uses the model."""
        self._streams[model] += 1
        try:
            yield
        finally:
            self._streams[model] -= 1
            if not self._streams[model]:
                del self._streams[model]
                if idle := self._idle.pop(model, None):
                    idle.set()

    def meet(self, model: MLModel) -> bool:
        """Hold a model's `unload` back from now on; whether it was met for the first time."""
        if model in self._met:
            return False
        self._met.add(model)
        unload = model.unload

        async def patiently() -> bool:
            if not self._streams[model]:
                return await unload()
            idle = self._idle.setdefault(model, asyncio.Event())

            async def when_idle() -> None:
                await idle.wait()
                await unload()
                logger.info("Unloaded model '%s' after its last stream.", model.name)

            task = asyncio.create_task(when_idle())
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)
            return True

        model.unload = patiently  # type: ignore[method-assign]
        return True
