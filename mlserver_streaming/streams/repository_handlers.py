"""MLServer's repository calls, of both edges, for those who may make them; each leaves a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from mlserver.errors import ModelNotFound
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.settings import ModelSettings
from mlserver.types import (
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryIndexResponseItem,
    State,
)

from ..access.callers import ADMIN, authorise, current, require
from ..discovery import PassedOver
from ..errors import MLServerError, NoSuchModelError
from ..load_failure import LoadError
from ..watch.stream_log import log_repository
from .model_registry import ModelRegistry
from .overrides import Overrides, check_unload


class GuardedRepositoryHandlers(ModelRepositoryHandlers):
    """Loading and unloading need the role `admin`; a caller sees and moves its own models only."""

    _model_registry: ModelRegistry

    async def index(self, payload: RepositoryIndexRequest) -> RepositoryIndexResponse:
        """Every model that is found; those that cannot be served with the reason."""
        caller = current()
        found = (await super().index(payload)).root
        if not payload.ready:
            known = {item.name for item in found}
            found += [
                RepositoryIndexResponseItem(
                    name=each.name, state=State.UNAVAILABLE, reason=f"{each.file}: {each.reason}"
                )
                for each in self.faults
                if each.name not in known
            ]
        return RepositoryIndexResponse([each for each in found if caller.may_use(each.name)])

    async def load(self, name: str, parameters: Mapping[str, Any] | None = None) -> bool:
        """Load all versions of a model, as they are now; others of it are unloaded.

        Args:
            parameters: what is to be changed (overrides.py).

        Raises:
            LoadError: one cannot be loaded; the log has the rest of it.
            UnsupportedError, BadRequestError: something cannot be changed; nothing is loaded.
        """
        with _moving("load", name):
            await self._load(name, Overrides.of_load(name, parameters or {}))
        return True

    async def _load(self, name: str, overrides: Overrides) -> None:
        registry = self._model_registry
        loaded = set()
        found = [
            overrides.applied(settings, await registry.exactly(name, settings.version))
            if overrides.config
            else settings
            for settings in await self._repository.find(name)
        ]
        for settings in found:
            try:
                loaded.add((await registry.attempt(settings)).version or None)
            except LoadError as error:
                error.failure.log()
                raise
        for model in await registry.get_models(name):
            if (model.version or None) not in loaded:
                await registry.unload_version(name, model.version)

    async def unload(self, name: str, parameters: Mapping[str, Any] | None = None) -> bool:
        with _moving("unload", name):
            check_unload(parameters or {})
            return await super().unload(name)

    @property
    def faults(self) -> list[PassedOver]:
        """The models that the repository had to pass over when it looked last."""
        return getattr(self._repository, "faults", [])

    async def _to_item(self, model_settings: ModelSettings) -> RepositoryIndexResponseItem:
        item = await super()._to_item(model_settings)
        failure = self._model_registry.failures.get((model_settings.name, model_settings.version))
        if failure is not None:
            item.reason = failure.reason
        return item

    async def _get_state(self, model_settings: ModelSettings) -> State:
        model = await self._model_registry.exactly(model_settings.name, model_settings.version)
        if model is None:
            return State.UNAVAILABLE
        return State.READY if model.ready else State.UNKNOWN


@contextmanager
def _moving(call: str, name: str) -> Iterator[None]:
    """Let an admin load or unload a model, and say so in the log, also where it is refused.

    Raises:
        ForbiddenError: the caller may not.
        NoSuchModelError
    """
    result, begun = "cancelled", perf_counter()
    try:
        require(ADMIN)
        authorise(name)
        try:
            yield
        except ModelNotFound as error:
            raise NoSuchModelError(name, None) from error
        result = f"{call}ed"
    except MLServerError as error:
        result = str(error.status_code)
        raise
    except Exception:
        result = "500"
        raise
    finally:
        log_repository(call, name, current().name, result, round(perf_counter() - begun, 6))
