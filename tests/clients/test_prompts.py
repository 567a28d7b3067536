import asyncio
import io
import os
import sys

import pytest

from clients.errors import SourceError
from clients.prompts import LINES_AHEAD, checked_prompt, read_lines, read_prompt


def give_stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_arguments_are_joined():
    assert read_prompt(["What", "is  it?"]) == "What is  it?"


@pytest.mark.parametrize(
    ("data", "prompt"),
    [(b"hi\n", "hi"), (b"hi\r\n", "hi"), (b"a\n\n", "a\n"), (b"", ""), ("ä ☃".encode(), "ä ☃")],
)
def test_standard_input(monkeypatch, data, prompt):
    give_stdin(monkeypatch, data)
    assert read_prompt([]) == prompt


def test_text_that_is_not_utf8(monkeypatch):
    give_stdin(monkeypatch, b"\xff\xfe")
    with pytest.raises(SourceError, match="not UTF-8"):
        read_prompt([])
    with pytest.raises(SourceError, match="not UTF-8"):
        checked_prompt(os.fsdecode(b"bad \xff"))


async def test_a_line_comes_as_soon_as_it_is_there():
    reading, writing = os.pipe()
    lines = read_lines(reading)
    os.write(writing, b"first\n")
    assert await anext(lines) == "first"
    os.write(writing, b"\nlast")
    os.close(writing)
    assert [line async for line in lines] == ["", "last"]
    os.close(reading)


async def test_more_lines_than_are_read_ahead(tmp_path):
    count = LINES_AHEAD * 3
    path = tmp_path / "lines"
    path.write_text("".join(f"{index}\n" for index in range(count)))
    with path.open("rb") as file:
        lines = [line async for line in read_lines(file.fileno())]
    assert lines == [str(index) for index in range(count)]


async def test_giving_up_does_not_wait_for_the_next_line():
    reading, writing = os.pipe()
    lines = read_lines(reading)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(lines)
    os.close(writing)
