"""Pictures that are no video: a folder of them, and JPEGs on stdin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import cv2

from mlserver_streaming.vision.jpeg import JpegError, decode
from mlserver_streaming.vision.mjpeg import MjpegError, MjpegSplitter

from ..errors import SourceError
from .container import Picture

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_STDIN_BYTES = 64 * 1024


def pictures_of(folder: Path) -> list[Path]:
    """A folder's pictures in the order of their names, numbers within them by their value.

    Raises:
        SourceError: it holds none.
    """
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES]
    if not found:
        raise SourceError(f"{folder} holds no pictures ({', '.join(sorted(PICTURES))})")
    return sorted(found, key=_place)


def _place(path: Path) -> tuple[list[tuple[int, str]], str]:
    """`9.jpg` before `10.jpg`; where that makes no difference (`01`, `1`), by the name as it is."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", path.name)
    return [(int(number), "") if number else (-1, text) for number, text in parts], path.name


def read_picture(path: Path) -> Picture:
    """A picture, or why it is none: the others are not affected."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        return Picture(None, error=SourceError(f"{path} is not a picture"))
    return Picture(image)  # type: ignore[arg-type]


def jpegs(stream: BinaryIO) -> Iterator[Picture]:
    """The JPEGs of a stream. Raises SourceError where what it holds is none."""
    splitter = MjpegSplitter()
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    seen = False
    try:
        while data := read(_STDIN_BYTES):
            for jpeg in splitter.feed(data):
                seen = True
                yield Picture(decode(jpeg))
    except (JpegError, MjpegError) as error:
        raise SourceError(f"stdin: {error}") from error
    if not seen:
        raise SourceError("stdin holds no JPEG")
