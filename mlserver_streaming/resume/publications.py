"""The runs of this instance that are written to the store, for the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest

from ..streams.answers import One, can_resume
from .counted import Counted, set_request_id
from .going_on import can_go_on, is_repeatable
from .publisher import Publisher
from .request_bytes import pack_head
from .run import Run
from .store import Store

Spawn = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class Publications:
    def __init__(self, store: Store, lease_seconds: float, spawn: Spawn) -> None:
        """
        Args:
            lease_seconds: without a write for so long, others may take a stream.
            spawn: runs what is done beside all else.
        """
        self._store, self._lease_seconds, self._spawn = store, lease_seconds, spawn
        # Runs that another instance could go on with.
        self._portable: dict[str, Run] = {}
        self._publishers: dict[str, Publisher] = {}

    def begin(
        self,
        run: Run,
        model: MLModel,
        first: InferenceRequest,
        requests: AsyncIterator[InferenceRequest],
    ) -> AsyncIterator[InferenceRequest]:
        """Write a run that begins here; gives its requests, which are to be read instead.

        Args:
            first: of the requests.
        """
        if isinstance(requests, One):
            set_request_id(first)
            self.publish(run, model, first, begins=True)
            return requests
        publisher = self.publish(run, model, None, begins=True)

        counted = Counted(requests)

        def head() -> bytes | None:
            # Not `first`, which may have been another stream's before this one.
            sole = counted.first if counted.was_sole else None
            if sole is None or not can_go_on(model, sole):
                return None
            self._portable[run.head.id] = run
            return pack_head(run.head, sole)

        publisher.ask_for_head(head)
        return counted

    def publish(
        self,
        run: Run,
        model: MLModel,
        request: InferenceRequest | None,
        *,
        begins: bool,
        stored: int = 0,
    ) -> Publisher:
        portable = request is not None and can_go_on(model, request)
        head = pack_head(run.head, request if portable else None) if begins else None
        publisher = Publisher(run, self._store, self._lease_seconds, stored)
        publisher.start(head, can_resume(model) and not is_repeatable(model))
        if portable:
            self._portable[run.head.id] = run
        self._publishers[run.head.id] = publisher
        task = self._spawn(publisher.done())
        task.add_done_callback(lambda _: self._over(run))
        return publisher

    def _over(self, run: Run) -> None:
        del self._publishers[run.head.id]
        self._portable.pop(run.head.id, None)

    async def known(self, run: Run, number: int = 0) -> None:
        """Wait until other instances can find a run of ours, up to a response; or never will."""
        if publisher := self._publishers.get(run.head.id):
            await publisher.begun.wait()
            await publisher.reached(number)

    def portable(self) -> list[Run]:
        """Runs that another instance could go on with, as far as the store is there."""
        return [
            run for stream, run in self._portable.items() if not self._publishers[stream].is_lost
        ]
