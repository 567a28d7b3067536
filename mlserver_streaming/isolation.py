"""Each model folder has its modules to itself, whatever another folder's are called.

Stock MLServer puts a model's folder on `sys.path` while it imports the model. The second folder
with a `helper.py` then gets the first one's, since Python knows one module of a name.

Here a folder's own modules are executed with an `__import__` of their own (an import statement,
wherever it stands, takes it from the `__builtins__` of its module's globals), which looks into the
folder first. The first folder with a `helper` has it under that name, as with stock, so that
pickles which name it find it; unless one is installed, or lies in the served root, for whoever
imports that. In another folder it is `FOLDER.helper`, in a package that stands for
the folder: an ordinary module, in `sys.modules` under the name that it calls itself, on which
dataclasses, pydantic and pickle rely. Nobody else's imports are touched.

Statements are all that this sees: `importlib.import_module("helper")`, the name as text, gets the
first folder's.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, ClassVar

from mlserver import MLModel
from mlserver.settings import ModelSettings

# Of what an import in another thread may disturb.
TRIES = 5


def make_model(model_settings: ModelSettings) -> MLModel:
    """A model of the class that its settings name; takes the place of MLServer's initialiser.

    The modules of its folder are read anew each time, all of them, and what was made before keeps
    those that it has. A class that lies elsewhere is imported as MLServer does.

    Raises:
        Exception: whatever the import, or the class, raises.
    """
    implementation = _implementation(model_settings)
    model: MLModel = implementation(model_settings)
    return model


def _implementation(settings: ModelSettings) -> Any:
    module, _, name = settings.implementation_.replace(":", ".").rpartition(".")
    if not settings._source:
        return settings.implementation
    folder = ModelFolder.at(os.path.dirname(settings._source))
    with folder.anew():
        own = folder.name_of(module)
        known = sys.modules.get(module)
        found = importlib.import_module(own or module)
        if own is None and known is found:
            # Elsewhere a change is picked up in that module only, as with MLServer.
            importlib.reload(found)
        if not hasattr(found, name):
            raise AttributeError(f"module '{module}' has no '{name}'")
        return getattr(found, name)


class ModelFolder:
    """A folder whose modules are its own."""

    _known: ClassVar[dict[str, ModelFolder]] = {}
    # Which folder has a module under its plain name, and which has a package for its others.
    of_module: ClassVar[dict[str, ModelFolder]] = {}
    # The one whose model is being imported now.
    loading: ClassVar[ModelFolder | None] = None

    def __init__(self, path: str):
        self.path = path
        self.builtins = {**vars(builtins), "__import__": self._import}
        # Of this name in each process, so that objects can go from one to another.
        name = re.sub(r"\W", "_", os.path.basename(path))
        self._package = f"{name}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
        self._names: dict[str, str | None] = {}

    @classmethod
    def at(cls, path: str) -> ModelFolder:
        path = os.path.abspath(path)
        if path not in cls._known:
            cls._known[path] = cls(path)
        return cls._known[path]

    def name_of(self, module: str) -> str | None:
        """What a module of this folder is called in `sys.modules`; None where it has none such."""
        top, dot, rest = module.partition(".")
        if top not in self._names:
            self._names[top] = self._named(top)
        name = self._names[top]
        return name and f"{name}{dot}{rest}"

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Forget the folder's modules, so that they are imported anew. Where that fails, all is as
        it was before."""
        _invalidate_caches()
        self._names = {top: name for top, name in self._names.items() if name}
        before, loading = self._take_modules(), ModelFolder.loading
        # On the path meanwhile, as with MLServer: a library may import by a name as text.
        sys.path.insert(0, self.path)
        ModelFolder.loading = self
        try:
            yield
        except BaseException:
            self._take_modules()
            sys.modules.update(before)
            raise
        finally:
            ModelFolder.loading = loading
            with suppress(ValueError):
                sys.path.remove(self.path)

    def _take_modules(self) -> dict[str, ModuleType]:
        """Take those that can be executed again out of `sys.modules`; compiled ones cannot."""
        found = {
            name: module
            # A copy: another model may be importing a library in a thread.
            for name, module in sys.modules.copy().items()
            if isinstance(getattr(module, "__loader__", None), FolderLoader)
            and module.__loader__.folder is self  # type: ignore[union-attr]
        }
        for name in found:
            del sys.modules[name]
        return found

    def _named(self, top: str) -> str | None:
        spec = PathFinder.find_spec(top, [self.path])
        if spec is None or (top in sys.stdlib_module_names and top in sys.modules):
            return None
        owner, other = self.of_module.get(top), sys.modules.get(top)
        if owner is self:
            return top
        elsewhere = PathFinder.find_spec(top, [path for path in sys.path if not self._is_at(path)])
        is_elsewhere = elsewhere is not None and elsewhere.origin is not None
        if owner is None:
            # A folder without an __init__.py is a package only where there is no better one.
            if spec.origin is None and (other or is_elsewhere):
                return None
            if other is None and not is_elsewhere:
                self.of_module[top] = self
                return top
            if getattr(other, "__file__", None) == spec.origin:
                return None  # imported already from this very place, by somebody else
        if self._package not in sys.modules:
            package = ModuleSpec(self._package, None, is_package=True)
            package.submodule_search_locations = [self.path]
            sys.modules[self._package] = importlib.util.module_from_spec(package)
            self.of_module[self._package] = self
        return f"{self._package}.{top}"

    def _is_at(self, path: str) -> bool:
        return os.path.abspath(path) == self.path

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` of this folder's modules. Relative imports find their way by themselves."""
        own = self.name_of(name) if level == 0 else None
        if own is None or own == name or fromlist:
            return builtins.__import__(own or name, globals, locals, fromlist or (), level)
        # `import a.b` binds a.
        importlib.import_module(own)
        return sys.modules[self.name_of(name.partition(".")[0]) or name]


def _invalidate_caches() -> None:
    """As importlib's, which goes through a table that an import in another thread may change."""
    for _ in range(TRIES - 1):
        with suppress(RuntimeError):
            importlib.invalidate_caches()
            return
    importlib.invalidate_caches()


class FolderLoader(SourceFileLoader):
    """Executes a module of a model folder with the folder's `__import__`."""

    def __init__(self, fullname: str, path: str, folder: ModelFolder):
        super().__init__(fullname, path)
        self.folder = folder

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self.folder.builtins
        super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType:
        # Not from __pycache__: that takes a file for unchanged which was saved twice in a second.
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


class FolderFinder:
    """Finds the modules that model folders have; on `sys.meta_path`, before the others."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = name.partition(".")[0]
        folder = ModelFolder.of_module.get(top)
        if folder is None and path is None and (loading := ModelFolder.loading) is not None:
            folder = loading if loading.name_of(top) == top else None
        if folder is None:
            return None
        spec = PathFinder.find_spec(name, [folder.path] if path is None else path)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = FolderLoader(name, spec.loader.path, folder)
        return spec


sys.meta_path.insert(0, FolderFinder)
