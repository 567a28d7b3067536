"""One region: a part of a file under /dev/shm, read and written without being mapped."""

from __future__ import annotations

import errno
import os
import re
import stat
import weakref
from typing import NoReturn

import numpy as np

from ..errors import BadRequestError, MLServerError, shown
from ..tensors.raw import Buffer
from ..tensors.steps import Steps, gathered

FOLDER = "/dev/shm"
# What is copied in a step: a third of a millisecond.
PIECE_BYTES = 1024 * 1024
# Linux takes no more buffers at once.
MOST_PARTS = 1024
# No path, no hidden file, and none of POSIX's semaphores (`sem.NAME`): of one folder, these.
NAME = re.compile(r"[A-Za-z0-9_:@+=-]{1,250}", re.ASCII)
# A name that stands for something else than a file must neither be followed nor waited for.
FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def check_name(name: str, what: str) -> str:
    """
    Args:
        what: how an error calls it.

    Raises:
        BadRequestError: it has a slash, a dot, or another character that no name has.
    """
    if not NAME.fullmatch(name):
        raise BadRequestError(
            f"{what} '{shown(name)}' is not one: letters, digits and any of _ : @ + = - only, 250 "
            "at most."
        )
    return name


class Region:
    """A registered region. Its file is closed once nobody holds it.

    Attributes:
        name: under which it was registered.
        key: its file's name, as it was given.
        offset: where it begins in the file, in bytes.
        byte_size: its length.
    """

    def __init__(self, name: str, key: str, offset: int, byte_size: int):
        """
        Raises:
            BadRequestError: there is no such file, it is none that may be registered, or shorter.
        """
        self.name, self.key = name, key
        self.offset, self.byte_size = offset, byte_size
        file = check_name(key.removeprefix("/"), "The key")
        self._fd = _open(file, name)
        self._closed = weakref.finalize(self, os.close, self._fd)
        self._check_file(0, byte_size)

    @property
    def is_gone(self) -> bool:
        """Whether its file was removed: nobody can reach it under its key any more."""
        return os.fstat(self._fd).st_nlink == 0

    def check(self, at: int, size: int) -> None:
        """
        Raises:
            BadRequestError: a part lies past the region's end.
        """
        if at + size > self.byte_size:
            raise BadRequestError(
                f"Region '{self.name}' has {self.byte_size} bytes; {size} from byte {at} on are "
                "past its end."
            )

    def _check_file(self, at: int, size: int) -> None:
        self.check(at, size)
        found = os.fstat(self._fd)
        if not found.st_nlink:
            raise BadRequestError(
                f"The file of region '{self.name}' was removed; unregister it and register another."
            )
        if found.st_size < self.offset + at + size:
            self._is_short(found.st_size)

    def read(self, at: int, size: int) -> Steps[memoryview]:
        """A copy of a part of it.

        Raises:
            BadRequestError: it is not there.
        """
        self._check_file(at, size)
        memory = np.empty(size, np.uint8).data
        done = 0
        while done < size:
            piece = memory[done : done + PIECE_BYTES]
            try:
                count = os.preadv(self._fd, [piece], self.offset + at + done)
            except OSError as error:
                self._fail(error)
            if not count:
                self._is_short(self.offset + at + done)
            done += count
            if done < size:
                yield
        return memory.toreadonly()

    def write(self, at: int, parts: list[Buffer]) -> Steps[None]:
        """Write into it, one part behind the other.

        Raises:
            BadRequestError: there is no such place in it.
        """
        size = sum(map(len, parts))
        if 1 < len(parts) <= MOST_PARTS and size <= PIECE_BYTES:
            self._check_file(at, size)
            try:
                if os.pwritev(self._fd, parts, self.offset + at) == size:
                    return
            except OSError as error:
                self._fail(error)
        whole = parts[0] if len(parts) == 1 else (yield from gathered(parts))
        done, view = 0, memoryview(whole)
        while done < size:
            # What is written past the end of a file makes it longer.
            self._check_file(at + done, size - done)
            try:
                done += os.pwrite(
                    self._fd, view[done : done + PIECE_BYTES], self.offset + at + done
                )
            except OSError as error:
                self._fail(error)
            if done < size:
                yield

    def _is_short(self, size: int) -> NoReturn:
        raise BadRequestError(
            f"The file of region '{self.name}' has {size} bytes, fewer than the "
            f"{self.offset + self.byte_size} that the region needs; make it that long."
        )

    def _fail(self, error: OSError) -> NoReturn:
        raise MLServerError(
            f"Region '{self.name}' cannot be used now: {error.strerror}; try again later.", 503
        ) from error


def _open(file: str, name: str) -> int:
    what = f"The file '{file}' of region '{name}'"
    try:
        found = os.open(os.path.join(FOLDER, file), FLAGS)
    except FileNotFoundError as error:
        raise BadRequestError(
            f"{what} does not exist; create it before it is registered."
        ) from error
    except PermissionError as error:
        raise BadRequestError(
            f"{what} may not be read and written by the service's user."
        ) from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise MLServerError(
                f"{what} cannot be opened now: {error.strerror}; try again later.", 503
            ) from error
        # A link, a folder, a socket.
        raise BadRequestError(f"{what} cannot be opened: {error.strerror}.") from error
    status = os.fstat(found)
    fault = None
    if not stat.S_ISREG(status.st_mode):
        fault = "is not a plain file."
    elif status.st_uid != os.geteuid():
        # Else a service of root's would open everybody's to anybody.
        fault = "belongs to another user than the service's; create it as that user."
    if fault is not None:
        os.close(found)
        raise BadRequestError(f"{what} {fault}")
    return found
