"""Which model answers: a digest of its settings, its weights and its runtime's source.

An answer is remembered under it, so a model that is loaded again with other weights never gives
the answers of the old ones. What is digested is what lay on the disk when the model was loaded.
"""

import asyncio
import hashlib
import inspect
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

import orjson
from mlserver import MLModel
from mlserver.registry import MultiModelRegistry
from mlserver.settings import ModelSettings
from mlserver.utils import to_absolute_path

# Settings that change how a model is run, not what it answers; where its weights lie is as good as
# any other place that has the same weights.
NO_MATTER: dict[str, Any] = {
    "cache_enabled": True,
    "parallel_workers": True,
    "warm_workers": True,
    "parameters": {"uri", "max_sequences", "sequence_idle_seconds"},
}
READ_BYTES = 1024 * 1024

Stat = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model's digest, and the state of its files when that was taken."""

    digest: bytes
    files: tuple[Stat, ...]


class Identities:
    """The identity of each model that uses the cache, digested as it is loaded."""

    def __init__(self, registry: MultiModelRegistry):
        # By the settings' own identity: the model that is asked may stand for one in another
        # process, but both have the same settings.
        self._loaded: dict[int, _Loaded] = {}
        self._found: dict[int, bytes] = {}

        async def on_load(model: MLModel) -> MLModel:
            if model.settings.cache_enabled:
                await self._load(model)
            return model

        async def on_reload(old: MLModel, new: MLModel) -> MLModel:
            if new.settings.cache_enabled:
                await self._load(new)
            return new

        # First of the hooks, before anything reads the weights.
        registry._on_model_load = [on_load, *registry._on_model_load]
        registry._on_model_reload = [on_reload, *registry._on_model_reload]

    async def of(self, model: MLModel) -> bytes:
        """The digest that stands for a model.

        One whose files have changed since they were digested gets an identity of its own: nobody
        knows which of them it has read.
        """
        settings = model.settings
        found = self._found.get(id(settings))
        if found is None:
            loaded = self._loaded.get(id(settings)) or await self._load(model)
            same = not loaded.files or loaded.files == await asyncio.to_thread(
                lambda: tuple(_stats(settings))
            )
            found = loaded.digest if same else os.urandom(len(loaded.digest))
            self._found.setdefault(id(settings), found)
        return self._found[id(settings)]

    async def _load(self, model: MLModel) -> _Loaded:
        settings = model.settings
        loaded = await asyncio.to_thread(_digested, type(model), settings)
        if id(settings) not in self._loaded:
            weakref.finalize(settings, self._forget, id(settings))
        self._loaded[id(settings)] = loaded
        self._found.pop(id(settings), None)
        return loaded

    def _forget(self, settings: int) -> None:
        self._loaded.pop(settings, None)
        self._found.pop(settings, None)


def _digested(runtime: type[MLModel], settings: ModelSettings) -> _Loaded:
    """Read all that decides what a model answers. Takes as long as reading its weights does."""
    digest = hashlib.sha256()
    said = settings.model_dump(mode="json", by_alias=True, exclude=NO_MATTER)
    digest.update(orjson.dumps(said, option=orjson.OPT_SORT_KEYS, default=str))
    digest.update(f"{runtime.__module__}.{runtime.__qualname__}\0".encode())
    try:
        source = inspect.getsourcefile(runtime)
    except TypeError:  # made where there is no file
        source = None
    files = tuple(_stats(settings))
    if source is not None and os.path.isfile(source):
        _read(digest, source)
    root = _weights(settings)
    for path, *_ in files:
        digest.update(os.path.relpath(path, root).encode(errors="surrogateescape") + b"\0")
        _read(digest, path)
    if root is None:
        digest.update(((settings.parameters and settings.parameters.uri) or "").encode())
    return _Loaded(digest.digest(), files)


def _read(digest: Any, path: str) -> None:
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
            size += len(chunk)
    digest.update(b"%d\0" % size)


def _weights(settings: ModelSettings) -> str | None:
    """The file or folder of this machine that `parameters.uri` names, where there is one."""
    uri = urlparse((settings.parameters and settings.parameters.uri) or "")
    if not uri.path or uri.netloc or uri.scheme not in ("", "file"):
        return None
    path = str(to_absolute_path(settings, uri.path))
    return path if os.path.exists(path) else None


def _stats(settings: ModelSettings) -> Iterator[Stat]:
    """Each file of the weights, in order: its path, size, time of change and number."""
    root = _weights(settings)
    if root is None:
        return
    paths = [root]
    if os.path.isdir(root):
        paths = sorted(os.path.join(at, name) for at, _, names in os.walk(root) for name in names)
    for path in paths:
        if os.path.isfile(path):
            found = os.stat(path)
            yield path, found.st_size, found.st_mtime_ns, found.st_ino
