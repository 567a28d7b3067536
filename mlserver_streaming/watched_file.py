"""A small file that is read again when it changes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from mlserver.logging import logger

T = TypeVar("T")

# How often, at most, the file is looked at. The look is one stat().
LOOK_SECONDS = 1.0
# Keys for ten thousand callers are far below it; whatever is larger is no file of ours.
MAX_BYTES = 8 * 1024 * 1024


class WatchedFile(Generic[T]):
    """What a file says, as `parse` reads it. `value` is always something that was whole.

    A change that cannot be read leaves the old value, and one line in the log.
    """

    def __init__(
        self,
        path: str,
        what: str,
        parse: Callable[[bytes], T],
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
            what: the file's purpose, for messages.
            parse: the value in the file's bytes; a ValueError's text goes into the log.

        Raises:
            SystemExit: the file cannot be read now, at the start.
        """
        self._path = path
        self._what = what
        self._parse = parse
        self._clock = clock
        self._seen = self._signature()
        self._next_look = clock() + LOOK_SECONDS
        try:
            self._value = parse(self._read())
        except (OSError, ValueError) as error:
            sys.exit(f"The {what} {path} cannot be used: {_reason(error)}.")

    @property
    def value(self) -> T:
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look()
        return self._value

    def _look(self) -> None:
        signature = self._signature()
        if signature == self._seen:
            return
        # Before it is read: a change in between is seen at the next look.
        self._seen = signature
        try:
            self._value = self._parse(self._read())
        except (OSError, ValueError) as error:
            logger.error(
                "THE %s %s CANNOT BE USED, what it said before stays in force: %s.",
                self._what.upper(),
                self._path,
                _reason(error),
            )
        else:
            logger.info("The %s %s has changed and is in force.", self._what, self._path)

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> bytes:
        with open(self._path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        return data


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)
