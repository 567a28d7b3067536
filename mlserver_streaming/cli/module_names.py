"""Names of modules that more than one model folder has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlserver.settings import ModelSettings

# pytest's, which no model imports.
OF_TESTS = ("test_", "conftest")


def shared_names(folder: Path, models: Iterable[ModelSettings]) -> Iterator[tuple[str, list[str]]]:
    """Each such name, with the folders that have it, from the served folder on."""
    folders = sorted({os.path.dirname(model._source) for model in models if model._source})
    where: dict[str, list[str]] = {}
    for each in folders:
        for name in sorted(_modules(Path(each))):
            where.setdefault(name, []).append(os.path.relpath(each, folder.absolute()))
    return ((name, found) for name, found in where.items() if len(found) > 1)


def _modules(folder: Path) -> set[str]:
    files = {path.stem for path in folder.glob("*.py")}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    return {name for name in files | packages if not name.startswith(OF_TESTS)}
