"""A program whose extra is missing says in one sentence which one to install."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mlserver_streaming.extras import EXTRAS, MissingExtraError, needed_by

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {Requirement(each).name.replace("-", "_") for each in requirements}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_libraries_of_an_extra_are_those_that_it_installs(extra: str) -> None:
    always = names(PROJECT["dependencies"])
    assert names(PROJECT["optional-dependencies"][extra]) - always == EXTRAS[extra]


def test_all_is_every_extra_that_a_program_names() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert Requirement(everything).extras == set(EXTRAS)


def test_a_missing_library_is_told_by_its_extra() -> None:
    with (
        pytest.raises(ImportError) as raised,
        needed_by("The video client", "clients"),
    ):
        raise ModuleNotFoundError("No module named 'av'", name="av")
    assert str(raised.value) == (
        "The video client needs the extra 'clients': pip install 'mlserver-streaming[clients]'"
    )


def test_the_program_that_was_started_is_the_one_that_is_named() -> None:
    with (
        pytest.raises(MissingExtraError, match="The demo needs"),
        needed_by("The demo", "clients"),
        needed_by("The video client", "clients"),
    ):
        raise ModuleNotFoundError("No module named 'av'", name="av")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libGL.so.1: cannot open shared object file: No such file or directory"),
        ModuleNotFoundError("No module named 'av._core'", name="av._core"),
        ModuleNotFoundError("No module named 'mine'", name="mine"),
    ],
    ids=str,
)
def test_what_no_extra_would_help_is_left_as_it_is(error: ImportError) -> None:
    with pytest.raises(ImportError) as raised, needed_by("The video client", "clients"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("program", ["sse_client", "video_client", "speech_client", "demo"])
def test_a_client_started_as_a_module_ends_with_the_sentence(program: str) -> None:
    # None in sys.modules is what Python takes for a module that is not there.
    code = (
        "import runpy, sys; sys.modules |= dict.fromkeys(['httpx', 'av', 'tqdm', 'jiwer']);"
        f"runpy.run_module('clients.{program}', run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.endswith("needs the extra 'clients': pip install 'mlserver-streaming[clients]'")
