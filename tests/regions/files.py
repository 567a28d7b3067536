"""Files under /dev/shm, gone after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

FOLDER = Path("/dev/shm")
MakeFile = Callable[[bytes], Path]


@contextmanager
def files() -> Iterator[MakeFile]:
    """Makes a file with this content, under a name that nobody else has."""
    made: list[Path] = []

    def make(content: bytes) -> Path:
        made.append(FOLDER / f"test-{uuid4().hex}")
        made[-1].write_bytes(content)
        return made[-1]

    try:
        yield make
    finally:
        for path in made:
            path.unlink(missing_ok=True)
