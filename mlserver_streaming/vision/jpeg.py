"""JPEG bytes <-> images. The header is read before anything is decoded.

Markers and segments: ITU-T T.81, annex B.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [height, width] grey, or [height, width, 3] BGR

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
# Start-of-frame markers of every coding; C4, C8 and CC lie among them and are something else.
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone: TEM, RST0..RST7; and 0x00, which is none. A decoder skips these, so
# whatever they seem to enclose is read: a frame header of another size must not hide in there.
WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})


class JpegError(ValueError):
    """These bytes cannot be decoded as a JPEG; the text says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG says of itself: size in pixels, colour components (1 is grey)."""

    width: int
    height: int
    components: int


def read_header(data: bytes) -> JpegHeader:
    """The header of a JPEG, from its first start-of-frame segment. Decodes no pixel.

    Raises:
        JpegError: not a JPEG, or it ends before its pixels do.
    """
    if data[:2] != b"\xff\xd8":
        raise JpegError("it is not a JPEG.")
    header = None
    at = 2
    while True:
        # A marker is any number of fill bytes 0xFF and a code.
        at = data.find(b"\xff", at)
        while 0 <= at < len(data) and data[at] == 0xFF:
            at += 1
        if not 0 <= at < len(data):
            raise JpegError("the JPEG is truncated in its header.")
        marker = data[at]
        at += 1
        if marker in WITHOUT_LENGTH:
            continue
        if marker == SOS:
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            raise JpegError("the JPEG is truncated in its header.")
        if marker in SOF and header is None:
            if length < 8:
                raise JpegError("the JPEG's header is damaged.")
            header = JpegHeader(
                width=int.from_bytes(data[at + 5 : at + 7], "big"),
                height=int.from_bytes(data[at + 3 : at + 5], "big"),
                components=data[at + 7],
            )
            if not header.width or not header.height:
                raise JpegError("the JPEG's header says that it has no pixels.")
        at += length
    if header is None:
        raise JpegError("the JPEG's header does not say how large it is.")
    # libjpeg fills what is missing with grey and only warns, so look for the end ourselves.
    # Coded pixels cannot contain the end marker: in them 0xFF is always followed by 0x00 or RST.
    if data.rfind(b"\xff\xd9") < at:
        raise JpegError("the JPEG is truncated: it ends before its last pixel.")
    return header


def decode(data: bytes, max_pixels: int | None = None) -> Image:
    """Decode a JPEG, grey as [height, width] and colour as BGR [height, width, 3].

    EXIF orientation is applied.

    Args:
        max_pixels: larger images are refused from their header.

    Raises:
        JpegError: not a JPEG, truncated, damaged or too large.
    """
    header = read_header(data)
    if max_pixels is not None and header.width * header.height > max_pixels:
        raise JpegError(
            f"the JPEG has {header.width}x{header.height} pixels; "
            f"at most {max_pixels / 1e6:g} megapixels are taken."
        )
    flag = cv2.IMREAD_GRAYSCALE if header.components == 1 else cv2.IMREAD_COLOR
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise JpegError("the JPEG is damaged and cannot be decoded.") from error
    if image is None:
        raise JpegError("the JPEG is damaged and cannot be decoded.")
    return image  # type: ignore[no-any-return]


def encode(image: Image, quality: int = 95) -> bytes:
    """Encode an image as JPEG.

    Args:
        image: uint8, [height, width] grey or [height, width, 3] BGR.
        quality: 1 (small) to 100 (good).

    Raises:
        JpegError: an image that JPEG cannot hold (empty, or a side past 65535 pixels).
    """
    try:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise JpegError("the image cannot be encoded as a JPEG.") from error
    if not done:
        raise JpegError("the image cannot be encoded as a JPEG.")
    return data.tobytes()


def recode(data: bytes, quality: int = 95, max_pixels: int | None = None) -> bytes:
    """Decode a JPEG and encode it again: see `decode` and `encode`."""
    return encode(decode(data, max_pixels), quality)
