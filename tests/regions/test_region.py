"""A region: what may be one, and what becomes of it when its file does not stay as it was."""

from __future__ import annotations

import errno
import gc
import os
import socket
from pathlib import Path
from uuid import uuid4

import pytest

from mlserver_streaming.errors import BadRequestError, MLServerError
from mlserver_streaming.regions.region import PIECE_BYTES, Region
from mlserver_streaming.tensors.steps import finish
from tests.regions.files import FOLDER, MakeFile

LONG = 3 * PIECE_BYTES + 5


def test_what_is_in_the_file_is_read_and_what_is_written_is_in_the_file(
    make_file: MakeFile,
) -> None:
    content = os.urandom(LONG)
    path = make_file(content)
    region = Region("r", f"/{path.name}", 3, LONG - 3)
    assert finish(region.read(1, LONG - 4)) == content[4:]
    finish(region.write(2, [b"new" * PIECE_BYTES]))
    assert path.read_bytes() == content[:5] + b"new" * PIECE_BYTES
    assert path.stat().st_size == LONG


@pytest.mark.parametrize("count", [1, 2, 1024, 1025, 5000])
def test_many_parts_are_written_one_behind_the_other(count: int, make_file: MakeFile) -> None:
    parts = [b"%d" % number for number in range(count)]
    whole = b"".join(parts)
    path = make_file(bytes(len(whole) + 1))
    finish(Region("r", path.name, 1, len(whole)).write(0, list(parts)))
    assert path.read_bytes() == b"\0" + whole


def test_what_was_read_is_the_reader_s_own_and_cannot_be_written_to(make_file: MakeFile) -> None:
    path = make_file(b"before")
    read = finish(Region("r", path.name, 0, 6).read(0, 6))
    path.write_bytes(b"after!")
    assert read == b"before"
    assert read.readonly


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "//a",
        "a/b",
        "../etc/passwd",
        "/../etc/passwd",
        ".hidden",
        "sem.a",
        "a\0b",
        "ä",
        "a" * 251,
    ],
)
def test_a_key_is_the_name_of_a_file_and_no_path(key: str) -> None:
    with pytest.raises(BadRequestError, match=r"^The key '.*' is not one: letters, digits"):
        Region("r", key, 0, 1)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(BadRequestError, match="does not exist; create it before it is registered"):
        Region("r", uuid4().hex, 0, 1)


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "socket"])
def test_only_plain_files_are_opened(kind: str, make_file: MakeFile) -> None:
    path = FOLDER / f"test-{uuid4().hex}"
    secret = make_file(b"somebody's")
    listener = socket.socket(socket.AF_UNIX)
    try:
        if kind == "link":
            path.symlink_to(secret)
        elif kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            listener.bind(str(path))
        before = open_files()
        with pytest.raises(BadRequestError, match=r"cannot be opened: |is not a plain file\.$"):
            Region("r", path.name, 0, 1)
        assert open_files() == before
    finally:
        listener.close()
        path.rmdir() if kind == "folder" else path.unlink()


def test_another_user_s_file_is_not_used(
    make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(b"content")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(BadRequestError, match="belongs to another user than the service's"):
        Region("r", path.name, 0, 7)


def open_files() -> int:
    gc.collect()  # what other tests left behind
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_more_files_may_be_open(make_file: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_file(b"abc")

    def full(*arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(MLServerError, match="try again later") as raised:
        Region("r", path.name, 0, 3)
    assert raised.value.status_code == 503


def test_a_file_is_open_as_long_as_somebody_holds_its_region(make_file: MakeFile) -> None:
    path = make_file(b"content")
    before = open_files()
    region = Region("r", path.name, 0, 7)
    assert open_files() == before + 1
    del region
    assert open_files() == before
    with pytest.raises(BadRequestError):
        Region("r", path.name, 0, 8)
    assert open_files() == before


@pytest.mark.parametrize(("offset", "size"), [(0, 8), (7, 1), (2**62, 1)])
def test_a_region_past_the_end_of_its_file(offset: int, size: int, make_file: MakeFile) -> None:
    with pytest.raises(BadRequestError, match="has 7 bytes, fewer than the"):
        Region("r", make_file(b"content").name, offset, size)


@pytest.mark.parametrize(("at", "size"), [(7, 1), (0, 8), (2**63, 1)])
def test_what_lies_past_the_end_of_a_region(at: int, size: int, make_file: MakeFile) -> None:
    region = Region("r", make_file(b"content and more").name, 0, 7)
    for steps in (region.read(at, size), region.write(at, [bytes(size)])):
        with pytest.raises(BadRequestError, match="are past its end"):
            finish(steps)


def test_a_file_that_is_cut_short_between_two_requests(make_file: MakeFile) -> None:
    path = make_file(bytes(LONG))
    region = Region("r", path.name, 0, LONG)
    os.truncate(path, 10)
    for steps in (region.read(0, LONG), region.write(0, [bytes(LONG)])):
        with pytest.raises(BadRequestError, match="has 10 bytes, fewer than"):
            finish(steps)
    assert path.stat().st_size == 10
    assert finish(region.read(0, 10)) == bytes(10)
    os.truncate(path, LONG)
    assert len(finish(region.read(0, LONG))) == LONG


def test_a_file_that_is_cut_short_while_it_is_read_or_written(make_file: MakeFile) -> None:
    path = make_file(bytes(LONG))
    region = Region("r", path.name, 0, LONG)
    for steps in (region.read(0, LONG), region.write(0, [bytes(LONG)])):
        os.truncate(path, LONG)
        next(steps)
        os.truncate(path, 10)
        with pytest.raises(BadRequestError, match="bytes, fewer than the"):
            finish(steps)
        assert path.stat().st_size == 10


def test_a_file_that_is_removed(make_file: MakeFile) -> None:
    path = make_file(b"content")
    region = Region("r", path.name, 0, 7)
    assert not region.is_gone
    path.unlink()
    assert region.is_gone
    for steps in (region.read(0, 1), region.write(0, [b"x"])):
        with pytest.raises(BadRequestError, match=r"^The file of region 'r' was removed"):
            finish(steps)
