"""Prompts, as a command gets them: from its arguments or from standard input."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import click

from .errors import SourceError

# Lines read ahead of the stream; enough to never wait for a file, too few to fill memory.
LINES_AHEAD = 64


def checked_prompt(prompt: str) -> str:
    """The prompt itself; raises SourceError when it cannot be sent as UTF-8.

    Arguments that are not UTF-8 reach Python as lone surrogates, which JSON and protobuf refuse.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise SourceError("the prompt is not UTF-8 text") from error
    return prompt


def read_prompt(arguments: Sequence[str]) -> str:
    """The arguments joined by spaces; without any, all of standard input.

    One line break at the end of standard input is dropped: `echo` and editors add it.
    Raises SourceError when the text is not UTF-8.
    """
    if arguments:
        return checked_prompt(" ".join(arguments))
    if sys.stdin.isatty():
        click.echo("Type the prompt, then Ctrl-D:", err=True)
    return _decode(sys.stdin.buffer.read())


async def read_lines(descriptor: int) -> AsyncIterator[str]:
    """Each line of a file descriptor as a prompt, as soon as it is there, empty lines too.

    Raises SourceError at a line that is not UTF-8. A thread of its own reads: a terminal's next
    line may never come, and neither the stream nor the program's end may wait for it.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = threading.Semaphore(LINES_AHEAD)

    def read() -> None:
        # Not sys.stdin's own buffer: a thread blocked in that one aborts the interpreter's end.
        # The loop raises RuntimeError once it is closed: nobody reads any more.
        with os.fdopen(descriptor, "rb", closefd=False) as stream, suppress(RuntimeError):
            for line in iter(stream.readline, b""):
                room.acquire()
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="prompts", daemon=True).start()
    while (line := await lines.get()) is not None:
        room.release()
        yield _decode(line)


def _decode(data: bytes) -> str:
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise SourceError("standard input is not UTF-8 text") from error
