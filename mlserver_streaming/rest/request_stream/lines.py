"""NDJSON: a request a line. https://github.com/ndjson/ndjson-spec"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from .asked import Asked, check_size


class Lines:
    """Cuts lines, which may end with CR LF; empty ones are no requests, and the last may have no
    end."""

    def __init__(self, limit: int):
        """
        Args:
            limit: bytes of a line.
        """
        self.limit = limit
        self._line = BytesIO()

    @property
    def held(self) -> int:
        return self._line.tell()

    def feed(self, data: bytes) -> Iterator[Asked]:
        *ended, rest = data.split(b"\n")
        if ended:
            self._add(ended[0])
            yield from self.end()
            for line in ended[1:]:
                if line and not line.isspace():
                    self._check(len(line))
                    yield Asked(line)
        self._add(rest)

    def clear(self) -> None:
        self._line = BytesIO()

    def end(self) -> Iterator[Asked]:
        # Not a copy: nobody writes to this buffer any more.
        line, self._line = self._line.getvalue(), BytesIO()
        if line and not line.isspace():
            yield Asked(line)

    def _add(self, data: bytes) -> None:
        self._line.write(data)
        self._check(self._line.tell())

    def _check(self, size: int) -> None:
        check_size(size, self.limit, "line of the body")
