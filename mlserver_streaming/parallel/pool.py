"""The workers: which gets what, what they have loaded, and who takes a dead one's place."""

import asyncio
import atexit
import itertools
import multiprocessing
import socket
from collections.abc import Coroutine
from contextlib import nullcontext
from time import monotonic
from typing import Any, cast

from mlserver import MLModel
from mlserver.env import Environment
from mlserver.logging import logger
from mlserver.metrics import REGISTRY
from mlserver.parallel.dispatcher import QUEUE_METRIC_NAME
from mlserver.parallel.pool import InferencePool, InferencePoolHook, WorkerRegistry
from mlserver.parallel.utils import configure_inference_pool
from mlserver.settings import ModelSettings, Settings
from prometheus_client import Histogram

from ..errors import MLServerError, NoWorkerError, WorkerLostError
from ..settings import StreamingSettings
from . import messages as say
from .link import PING_SECONDS, UNANSWERED_SECONDS, Link, key_of, told
from .model import WorkerModel
from .restarts import Pauses
from .sequence_table import Flags, SequenceTable
from .session import Description
from .worker import StreamingWorker, signals_held_back


class StreamingPool(InferencePool):
    """MLServer's pool with workers that stream; what a stream asks of it is `stream.Workers`."""

    def __init__(
        self,
        settings: Settings,
        env: Environment | None = None,
        on_worker_stop: list[InferencePoolHook] | None = None,
    ):
        # Not the parent's: that would start its own workers.
        configure_inference_pool(settings)
        streaming = StreamingSettings.read(settings.model_repository_root)
        limits, self._limits = streaming.limits, streaming.workers
        self.sequences = SequenceTable()
        self.told_at_once = max(1, limits.buffered_responses // 2)
        self._settings = settings
        self._env = env
        self._on_worker_stop = on_worker_stop or []
        self._worker_registry = WorkerRegistry()
        self._most_open = 2 * limits.streams
        self._links: list[Link] = []
        self._pauses: dict[Link, Pauses] = {}
        self._turns = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._queued = _queue_metric()
        for _ in range(settings.parallel_workers):
            link = self._spawn(Pauses())
            link.is_ready, link.ready_at = True, monotonic()
            self._links.append(link)
        self._do(self._ping())
        # A service that ends without having closed its pools (its settings are wrong, say) would
        # wait for its workers, and they for it.
        atexit.register(self._kill)

    def has_worker(self, key: say.ModelKey) -> bool:
        return any(link.is_ready and key in link.loaded for link in self._links)

    def place(self, key: say.ModelKey, flags: Flags | None, home: Link | None = None) -> Link:
        if flags is None:
            return home or self._least_busy(key)
        now = monotonic()
        link = cast(Link | None, self.sequences.worker_of(key, flags, now))
        if link is not None:
            return link
        if home is not None and not home.is_lost and home.answers(now):
            link = home
        else:
            link = self._least_busy(key)
        self.sequences.enter(key, flags, link, now)
        return link

    async def load_model(self, model: MLModel) -> MLModel:
        """Load a model on every worker.

        Raises:
            MLServerError: one could not load it; or all were lost while they did.
        """
        settings, key = model.settings, key_of(model.settings)
        while missing := [link for link in self._links if link.is_ready and not link.has(settings)]:
            results = await asyncio.gather(
                *(link.load(settings) for link in missing), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, WorkerLostError):
                    await self._restore(key, settings)
                    raise result
        # None is awaited from here on: a worker that becomes ready later finds it in the registry.
        descriptions = [link.loaded[key][1] for link in self._links if link.has(settings)]
        if not descriptions:
            raise MLServerError(
                f"Model '{model.name}' cannot be loaded: every worker was lost meanwhile.", 503
            )
        self._worker_registry.add(settings)
        self._add_sequences(settings, descriptions[0])
        return WorkerModel(model, self, descriptions[0])

    async def reload_model(self, old_model: MLModel, new_model: MLModel) -> MLModel:
        """Load a model in another's place; streams to that one go on."""
        loaded = await self.load_model(new_model)
        if key_of(old_model.settings) != key_of(new_model.settings):
            await self.unload_model(old_model)
        return loaded

    async def unload_model(self, model: MLModel) -> MLModel:
        """Unload a model on every worker; streams to it go on."""
        key = key_of(model.settings)
        self._worker_registry.remove(model.settings)
        self.sequences.remove_model(key)
        await asyncio.gather(
            *(link.unload(model.settings) for link in self._links if key in link.loaded),
            return_exceptions=True,
        )
        return model

    async def close(self) -> None:
        """Let all workers end, and wait for that."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        links, self._links = self._links, []
        for link in [*links, *self._pauses]:
            link.close()
        seconds = self._settings.parallel_workers_timeout
        everyone = list(self._pauses)
        await asyncio.gather(*(link.ended(seconds) for link in everyone))
        for link in everyone:
            await self._tell_stopped(link)
        self._pauses.clear()
        atexit.unregister(self._kill)

    def _least_busy(self, key: say.ModelKey) -> Link:
        now = monotonic()
        able = [link for link in self._links if link.is_ready and key in link.loaded]
        if not able:
            raise NoWorkerError()
        found = min(able, key=lambda link: (not link.answers(now), link.busy, link.turn))
        if found.busy >= self._most_open:
            raise NoWorkerError()
        found.turn = next(self._turns)
        self._queued.observe(sum(link.busy for link in self._links))
        return found

    def _spawn(self, pauses: Pauses) -> Link:
        ours, theirs = socket.socketpair()
        heard, beats = multiprocessing.Pipe(duplex=False)
        with self._env or nullcontext(), signals_held_back():
            worker = StreamingWorker(self._settings, theirs, beats, self._env)
            worker.start()
        theirs.close()
        beats.close()
        link = Link(worker, ours, heard, self._limits, self._on_lost, self._on_gone)
        self._pauses[link] = pauses
        return link

    def _on_gone(self, link: Link, key: say.ModelKey, ids: list[Any]) -> None:
        self.sequences.gone(key, ids, link)

    def _on_lost(self, link: Link) -> None:
        """A worker is gone; what was asked of it has failed."""
        self.sequences.lost(link)
        if link in self._links:
            self._links.remove(link)
            self._do(self._replace(link))

    async def _replace(self, link: Link) -> None:
        """Put another worker in a dead one's place, however long that takes."""
        pauses = self._pauses.pop(link)
        pause = pauses.next(monotonic() - link.ready_at)
        status = await link.ended()
        logger.error(
            "Worker %d of the %s was lost (%s). Another is started%s.",
            *(link.pid, self.name, told(status), f" in {pause:g} s" if pause else ""),
        )
        await self._tell_stopped(link)
        while (new := await self._start(pauses, pause)) is None:
            pause = pauses.next(0)
            logger.error(
                "A worker of the %s did not get ready. The next try is in %g s; until then there "
                "are %d of %d workers.",
                *(self.name, pause, len(self._links), self._settings.parallel_workers),
            )
        new.is_ready, new.ready_at = True, monotonic()
        self._links.append(new)
        logger.info("Worker %d of the %s has loaded all models.", new.pid, self.name)

    async def _start(self, pauses: Pauses, pause: float) -> Link | None:
        """After a pause, start a worker and let it load all models; None where it could not."""
        await asyncio.sleep(pause)
        try:
            link = self._spawn(pauses)
        except OSError as error:
            logger.error("No worker of the %s can be started: %s.", self.name, error.strerror)
            return None
        try:
            await link.catch_up(lambda: self._worker_registry.models)
        except MLServerError as error:
            lost = link.is_lost
            link.kill()
            link.close()
            status = await link.ended()
            why = told(status) if lost else error
            logger.error("Worker %d of the %s could not start: %s.", link.pid, self.name, why)
            self._pauses.pop(link)
            await self._tell_stopped(link)
            return None
        return link

    def _kill(self) -> None:
        for link in self._pauses:
            link.kill()

    async def _tell_stopped(self, link: Link) -> None:
        told = (callback(link.worker) for callback in self._on_worker_stop)
        for result in await asyncio.gather(*told, return_exceptions=True):
            if isinstance(result, Exception):
                logger.error("After worker %d: %r", link.pid, result)

    async def _restore(self, key: say.ModelKey, settings: ModelSettings) -> None:
        """A model could not be loaded everywhere: where it was, there is again what was before."""
        for before in [each for each in self._worker_registry.models if key_of(each) == key]:
            await asyncio.gather(
                *(link.load(before) for link in self._links if link.has(settings)),
                return_exceptions=True,
            )

    def _add_sequences(self, settings: ModelSettings, description: Description) -> None:
        parameters = settings.parameters
        given: dict[str, Any] = {}
        if parameters is not None:
            given = {**(parameters.model_extra or {}), **(parameters.extra or {})}
        limits = StreamingSettings.read(self._settings.model_repository_root).limits
        self.sequences.add_model(
            key_of(settings),
            int(given.get("max_sequences", limits.sequences)),
            float(given.get("sequence_idle_seconds", limits.sequence_idle_seconds)),
            description.holds_sequences,
        )

    async def _ping(self) -> None:
        """Know of each worker that has something to do whether it still answers."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            now = monotonic()
            for link in list(self._links):
                if link.has_stopped(now):
                    logger.error(
                        "Worker %d has shown no sign of life for %g s, and is ended.",
                        *(link.pid, self._limits.heartbeat_seconds),
                    )
                    link.give_up()
                    continue
                if not link.answers(now) and link.has_answered and not link.is_held_up:
                    link.is_held_up = True
                    logger.warning(
                        "Worker %d has not answered for %g s: a model holds it up. New streams go "
                        "to others, where there are any.",
                        *(link.pid, UNANSWERED_SECONDS),
                    )
                if link.busy:
                    link.ping(now)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _queue_metric() -> Histogram:
    """MLServer's own figure: what was in the workers' hands when another request came."""
    if QUEUE_METRIC_NAME in REGISTRY:
        return cast(Histogram, REGISTRY[QUEUE_METRIC_NAME])
    return Histogram(
        QUEUE_METRIC_NAME, "counter of request queue size for workers", registry=REGISTRY
    )
