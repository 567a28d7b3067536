"""A file that is read again when it changes, and keeps what it said when it is spoilt."""

import logging
import os
from pathlib import Path

import pytest
from mlserver.logging import logger

from mlserver_streaming import watched_file
from mlserver_streaming.watched_file import LOOK_SECONDS, WatchedFile


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def parse(data: bytes) -> int:
    try:
        return int(data)
    except ValueError:
        raise ValueError("it is no number") from None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


@pytest.fixture
def watched(path: Path, clock: Clock) -> WatchedFile[int]:
    return WatchedFile(str(path), "file of a number", parse, clock)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, logger.name)
    return caplog


def test_a_change_is_seen_at_the_next_look(
    watched: WatchedFile[int], path: Path, clock: Clock
) -> None:
    path.write_text("23")
    assert watched.value == 1
    clock.now = LOOK_SECONDS
    assert watched.value == 23


def test_a_replaced_file_of_the_same_size_and_time_is_a_change(
    watched: WatchedFile[int], path: Path, clock: Clock
) -> None:
    times = os.stat(path)
    other = path.with_name("other")
    other.write_text("2")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)
    clock.now = LOOK_SECONDS
    assert watched.value == 2


def test_it_is_looked_at_once_a_second_at_most(
    watched: WatchedFile[int], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    stat = os.stat
    monkeypatch.setattr(watched_file.os, "stat", lambda path: looks.append(path) or stat(path))
    for step in range(1000):
        clock.now = step / 250
        assert watched.value == 1
    assert len(looks) == 3


@pytest.mark.parametrize("spoil", ["garbage", "", None, "a folder", "too large"])
def test_spoilt_it_says_what_it_said_and_one_line(
    watched: WatchedFile[int],
    path: Path,
    clock: Clock,
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    spoil: str | None,
) -> None:
    path.unlink()
    if spoil == "a folder":
        path.mkdir()
    elif spoil == "too large":
        monkeypatch.setattr(watched_file, "MAX_BYTES", 4)
        path.write_text("12345")
    elif spoil is not None:
        path.write_text(spoil)
    for step in range(1, 10):
        clock.now = step * LOOK_SECONDS
        assert watched.value == 1
    (line,) = log.records
    assert line.levelno == logging.ERROR
    assert "CANNOT BE USED" in line.getMessage()
    assert str(path) in line.getMessage()
    if path.is_dir():
        path.rmdir()
    path.write_text("7")
    clock.now += LOOK_SECONDS
    assert watched.value == 7
    assert "is in force" in log.records[-1].getMessage()


@pytest.mark.parametrize("content", [None, "", "garbage"])
def test_at_the_start_it_must_be_whole(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "number"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as caught:
        WatchedFile(str(path), "file of a number", parse)
    reason = "No such file or directory" if content is None else "it is no number"
    assert str(caught.value) == f"The file of a number {path} cannot be used: {reason}."
