"""Long work in steps: a generator that stops wherever others may have a turn. Pure.

A step holds the interpreter for some milliseconds at most. Who runs the steps decides what comes
between them: `streams.turns.in_turns` lets the event loop go round, `finish` nothing.
"""

from collections.abc import Generator, Iterable
from io import BytesIO
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]

# What a step takes of bytes to copy, of text or numbers to read, and of Python objects to make.
# Measured: 0.1, 2 and 1 ms, on a machine where all is slow.
COPIED_BYTES = 256 * 1024
READ_BYTES = 32 * 1024
OBJECTS = 1024


def finish(steps: Steps[T]) -> T:
    """All of the work, at once."""
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def gathered(parts: Iterable[bytes | memoryview]) -> Steps[bytes]:
    """All parts as one, which is never there twice.

    `bytes.join` takes as long for 64 MiB as everybody may be kept waiting.
    """
    size = sum(map(len, parts)) if isinstance(parts, list | tuple) else 0
    if 0 < size <= COPIED_BYTES:
        return b"".join(parts)
    # Gives its own memory away at the end. Where the size is known it has all of it from the
    # begin: what grows is copied again and again.
    whole = BytesIO(bytes(size))
    for part in parts:
        for at in range(0, len(part), COPIED_BYTES):
            whole.write(part[at : at + COPIED_BYTES])
            if len(part) >= COPIED_BYTES:
                yield
    return whole.getvalue()
