"""The models that are loaded, and why others could not be."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from mlserver import MLModel
from mlserver.errors import ModelNotFound
from mlserver.registry import MultiModelRegistry, SingleModelRegistry
from mlserver.settings import ModelSettings

from ..errors import NotLoadedError
from ..isolation import make_model
from ..load_failure import LoadError, LoadFailure
from .start import Start

# What Triton's statistics, in which each model has a number, call one without a version.
UNVERSIONED = "1"


class ModelRegistry(MultiModelRegistry):
    """MLServer's, whose models have their modules to themselves (isolation.py).

    Attributes:
        root: the served root.
        start: what is done about a model that cannot be loaded when the service starts.
        failures: why, by name and version, of those that were asked for and are not there.
    """

    def __init__(self, **collaborators: Any):
        super().__init__(**{"model_initialiser": make_model, **collaborators})
        self.root = "."
        self.start = Start(stops=True)
        self.failures: dict[tuple[str, str | None], LoadFailure] = {}

    async def load(self, model_settings: ModelSettings) -> MLModel:
        """Load a model as the service starts: MLServer asks here for all of them at once."""
        try:
            return await self.attempt(model_settings)
        except LoadError as error:
            self.start.failed(error.failure)
            return MLModel(model_settings)  # MLServer does not look at it

    async def attempt(self, settings: ModelSettings) -> MLModel:
        """Load a model, or load it again: where that fails, the one before stays.

        Raises:
            LoadError: it cannot be loaded.
        """
        name, version = key = settings.name, settings.version
        before = await self.exactly(name, version)
        try:
            model = await super().load(settings)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except LoadError as error:  # a worker's
            failure = error.failure
        except BaseException as error:  # a model may call sys.exit; a panic of Rust is none either
            failure = LoadFailure.of(_cause(error), settings, self.root)
        else:
            self.failures.pop(key, None)
            return model
        after = await self.exactly(name, version)
        if after is not before:
            # MLServer takes back what fails with an Exception; the others would be loading forever.
            with suppress(Exception):
                await self.unload_version(name, version)
        if before is None:
            self.failures[key] = failure
        raise LoadError(failure)

    async def get_model(self, name: str, version: str | None = None) -> MLModel:
        """The newest model of this name, or the one of a version that its metadata offers.

        Raises:
            NotLoadedError: it could not be loaded.
            ModelNotFound: there is none.
        """
        try:
            return await super().get_model(name, version)
        except ModelNotFound as error:
            if any(name == n and version in (None, v) for n, v in self.failures):
                raise NotLoadedError(name) from error
            for model in await self.of_name(name):
                if version in labels_of(model) or (version == UNVERSIONED and not model.version):
                    return model
            raise

    def usual(self, name: str, version: str | None) -> MLModel | None:
        """The model that `get_model` gives, without a wait; None where that has more to look at."""
        try:
            return self._get_model_registry(name)._find_model(version)
        except ModelNotFound:
            return None

    async def of_name(self, name: str) -> list[MLModel]:
        """Every loaded model of a name, the newest first."""
        try:
            newest = await super().get_model(name)
            others = await super().get_models(name)
        except ModelNotFound:
            return []
        return [newest, *(model for model in others if model is not newest)]

    async def unload(self, name: str) -> None:
        self.failures = {key: why for key, why in self.failures.items() if key[0] != name}
        await super().unload(name)

    async def exactly(self, name: str, version: str | None) -> MLModel | None:
        """The loaded model of this name and version, or without one; None where there is none."""
        try:
            model = await super().get_model(name, version)
        except ModelNotFound:
            return None
        return model if (model.version or None) == (version or None) else None


def labels_of(model: MLModel) -> list[str]:
    """The versions under which a model can be asked for: its own, and those that its settings list
    as `versions`."""
    own = [model.version] if model.version else []
    return [*own, *(model.settings.versions or [])]


def _cause(error: BaseException) -> BaseException:
    """What went wrong first, where unloading what could not be loaded went wrong as well."""
    unload: Any = SingleModelRegistry._unload_model
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is unload.__code__ and error.__context__ is not None:
            return error.__context__
        trace = trace.tb_next
    return error
