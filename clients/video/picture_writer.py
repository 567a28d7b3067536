"""Write frames as pictures: a JPEG for each, of its own size."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from mlserver_streaming.vision.jpeg import Image, encode

from ..errors import ResultError

QUALITY = 95


class PictureWriter:
    """Writes into the folder `path`, which it makes. A context manager, as VideoWriter is. Raises
    ResultError when it cannot write there.

    Attributes:
        written: whether there is a picture.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = False
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultError(f"{path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is left to do: each picture is whole."""

    def write(self, image: Image, name: str) -> None:
        """Keep a picture as `name`, `.jpg` behind it where it does not end so: `a.png` and `a.jpg`
        stay two."""
        path = self.path / (name if name.lower().endswith(".jpg") else f"{name}.jpg")
        try:
            path.write_bytes(encode(image, QUALITY))
        except OSError as error:
            raise ResultError(f"{path} cannot be written: {error.strerror}") from error
        self.written = True
