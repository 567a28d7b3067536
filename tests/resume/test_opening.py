"""The store's secret and password come from files, and whoever checks a folder is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlserver_streaming.cli.report import Report
from mlserver_streaming.cli.secret_files import check_store
from mlserver_streaming.secret import password_of
from mlserver_streaming.settings import StoreSettings

URL = "redis://somebody@store:6379/0"


def test_the_password_is_what_its_file_says(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a b\n")
    settings = StoreSettings(url=URL, password_file="password")
    assert password_of(settings, str(tmp_path)) == "a b"
    assert password_of(StoreSettings(url=URL), str(tmp_path)) is None


@pytest.mark.parametrize("content", [None, "\n"])
def test_a_file_without_one_stops_the_start(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "password").write_text(content)
    settings = StoreSettings(url=URL, password_file="password")
    with pytest.raises(SystemExit, match=r"The store's password_file .*/password"):
        password_of(settings, str(tmp_path))


def test_a_password_has_one_place() -> None:
    with pytest.raises(ValidationError, match="two places for one password"):
        StoreSettings(url="redis://:secret@store", password_file="password")


def test_check_says_whether_streams_are_sealed(tmp_path: Path) -> None:
    def said(**store: Any) -> str:
        report = Report()
        check_store(StoreSettings(**store), tmp_path, report)
        return "\n".join([*report.lines(), *report.problems])

    assert "streams" not in said()
    assert "streams are not sealed" in said(url=URL)
    sealed = said(url=URL, secret="a secret of many")
    assert "streams are sealed" in sealed and "a secret of many" not in sealed
    assert "password_file" in said(url=URL, password_file="gone")
