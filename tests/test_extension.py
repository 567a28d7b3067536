"""The seam: what is borrowed from MLServer is there, and our classes take its places."""

import ast
import importlib
import inspect
import textwrap
from pathlib import Path
from typing import Any

import mlserver
import mlserver.server
import pytest

import mlserver_streaming
from mlserver_streaming import extension
from mlserver_streaming.rpc.server import StreamingGRPCServer

ROOT = Path(mlserver_streaming.__file__).parent
MODULES = [
    importlib.import_module(".".join(path.relative_to(ROOT.parent).with_suffix("").parts))
    for path in sorted(ROOT.rglob("[a-z]*.py"))
    # Not what `init` copies.
    if (path.parent / "__init__.py").exists()
]


def is_there(owner: Any, name: str) -> bool:
    """Whether `owner` has the attribute, or is a class whose instances get it in a method."""
    if hasattr(owner, name):
        return True
    return inspect.isclass(owner) and any(
        f"self.{name} =" in inspect.getsource(parent)
        for parent in owner.__mro__
        if parent is not object
    )


@pytest.mark.parametrize("borrowed", extension.BORROWED)
def test_what_is_borrowed_is_still_there(borrowed: str) -> None:
    module, _, names = borrowed.partition(":")
    *path, last = names.split(".")
    owner = importlib.import_module(module)
    for name in path:
        owner = getattr(owner, name)
    assert is_there(owner, last), (
        f"MLServer has moved {borrowed}, on which mlserver_streaming/ relies"
    )


def of_others(cls: type) -> bool:
    """Whether a class of ours extends one that is not."""
    return (cls.__module__ or "").startswith("mlserver_streaming.") and any(
        parent.__module__.partition(".")[0] in {"mlserver", "opentelemetry", "py_grpc_prometheus"}
        for parent in cls.__mro__
    )


EXTENDED = {
    cls.__qualname__: cls
    for module in MODULES
    for cls in vars(module).values()
    if inspect.isclass(cls) and of_others(cls) and not issubclass(cls, Exception)
}


@pytest.mark.parametrize("cls", EXTENDED.values(), ids=EXTENDED)
def test_every_private_name_that_a_class_borrows_is_listed(cls: type) -> None:
    ours = {name for parent in cls.__mro__ if of_others(parent) for name in vars(parent)}
    used = set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            if isinstance(node.ctx, ast.Store):
                ours.add(node.attr)
            else:
                used.add(node.attr)
    for parent in cls.__mro__[1:]:
        if of_others(parent):
            source = inspect.getsource(parent)
            ours |= {name for name in used if f"self.{name} =" in source}
    listed = {borrowed.rpartition(".")[2] for borrowed in extension.BORROWED}
    private = {name for name in used if not name.startswith("__")}
    assert private - ours - listed == set()


def test_our_classes_take_their_places_and_twice_is_as_good_as_once() -> None:
    extension.install()
    extension.install()
    assert mlserver.server.DataPlane is extension.data_plane
    assert mlserver.server.RESTServer is extension.rest_server
    assert mlserver.server.GRPCServer is StreamingGRPCServer


@pytest.mark.parametrize(
    "version", ["1.7.0", "1.6.9", "1.7", "0.9.1", "1.8.0", "1.8.0.dev3", "1.10.0", "2.0.0"]
)
def test_another_mlserver_stops_the_start_with_one_clear_line(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlserver, "__version__", version)
    with pytest.raises(SystemExit) as caught:
        extension.install()
    line = str(caught.value)
    assert line == (
        f"mlserver {version} is not supported; install a version from 1.7.1 up to, not including, "
        "1.8."
    )


@pytest.mark.parametrize(
    "version", ["1.7.1", "1.7.2", "1.7.10", "1.7.2.dev1", mlserver.__version__]
)
def test_a_supported_mlserver_starts(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlserver, "__version__", version)
    extension.install()
