"""`mlserver-streaming init`: nothing that is there is written over."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlserver_streaming.cli.init import FILES, main

ROOT = Path(__file__).parents[2]


def init(folder: Path) -> Result:
    return CliRunner().invoke(main, [str(folder)])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_writes_its_files_and_says_which(tmp_path: Path) -> None:
    made = init(tmp_path / "deep" / "mine")
    assert made.exit_code == 0
    assert files(tmp_path / "deep" / "mine") == set(FILES)
    for name in FILES:
        assert str(tmp_path / "deep" / "mine" / name) in made.output


def test_a_folder_that_is_there_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert init(tmp_path).exit_code == 0
    assert files(tmp_path) == {*FILES, "notes.txt"}


@pytest.mark.parametrize("name", FILES)
def test_where_one_of_its_files_is_there_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    made = init(tmp_path)
    assert made.exit_code == 1
    (line,) = made.output.splitlines()
    assert name in line and "nothing was written" in line
    assert files(tmp_path) == {name}
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_to_nowhere_is_there_too(tmp_path: Path) -> None:
    (tmp_path / "settings.json").symlink_to("elsewhere")
    assert init(tmp_path).exit_code == 1
    assert files(tmp_path) == set()


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = init(tmp_path / "file" / "mine")
    assert made.exit_code == 1
    (line,) = made.output.splitlines()
    assert line.endswith("cannot be written: Not a directory.")


def test_its_settings_are_the_project_s(tmp_path: Path) -> None:
    init(tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings == json.loads((ROOT / "settings.json").read_text())
