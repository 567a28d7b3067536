"""JPEGs as the world makes them, built by hand where cv2 cannot write them."""

import struct

import cv2
import numpy as np

# A block with the tables of `cmyk`: no difference in DC (code 00), then the end of it (code 1010).
_ONE_COLOUR = bytes.fromhex("28a28a")  # 00 1010, four times


def picture(width: int = 64, height: int = 48, *, grey: bool = False) -> np.ndarray:
    """Soft colours with some detail, other in every corner."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [x / width * 200, y / height * 200, 100 + 50 * np.sin(x / 3) * np.cos(y / 4)]
    image = np.stack(planes, axis=2).astype(np.uint8)
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if grey else image


def jpeg(image: np.ndarray | None = None, quality: int = 90, *, progressive: bool = False) -> bytes:
    done, data = cv2.imencode(
        ".jpg",
        picture() if image is None else image,
        [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)],
    )
    assert done
    return data.tobytes()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_exif(data: bytes, orientation: int = 1, thumbnail: bytes = b"") -> bytes:
    """Put an EXIF segment behind SOI: TIFF, little-endian, one entry in each of two directories."""

    def directory(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
        packed = [struct.pack("<HHII", *entry) for entry in entries]
        return struct.pack("<H", len(entries)) + b"".join(packed) + struct.pack("<I", following)

    first = directory([(0x0112, 3, 1, orientation)], following=26 if thumbnail else 0)
    tiff = struct.pack("<2sHI", b"II", 42, 8) + first
    if thumbnail:
        at = len(tiff) + 2 + 2 * 12 + 4
        tiff += directory([(0x0201, 4, 1, at), (0x0202, 4, 1, len(thumbnail))], following=0)
        tiff += thumbnail
    return data[:2] + segment(0xE1, b"Exif\0\0" + tiff) + data[2:]


def start_of_frame(data: bytes) -> int:
    """Where the length of the frame header stands."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        filled = data[at + 1] == 0xFF
        at += 1 if filled else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at + 2


def claiming(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG with another size in its header."""
    at = start_of_frame(data) + 3
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def cmyk() -> bytes:
    """An 8x8 JPEG of one colour with four components, as print shops send them."""
    components = b"".join(bytes([number, 0x11, 0]) for number in range(1, 5))
    scan = b"".join(bytes([number, 0x00]) for number in range(1, 5))
    # Huffman tables: how many codes of each length from 1 to 16 bits, then what they stand for.
    dc = bytes([0, 1]) + bytes(14) + bytes([0])
    ac = bytes([0, 0, 0, 11]) + bytes(12) + bytes([*range(1, 11), 0])
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"),
            segment(0xDB, bytes([0]) + bytes([16] * 64)),
            segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 4) + components),
            segment(0xC4, bytes([0x00]) + dc),
            segment(0xC4, bytes([0x10]) + ac),
            segment(0xDA, bytes([4]) + scan + bytes([0, 63, 0])),
            _ONE_COLOUR,
            b"\xff\xd9",
        ]
    )


def smuggled(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose true frame header, of this size, hides behind 0xFF00, and a decoy after it.

    Who takes 0xFF00 for a marker with a length steps over the true header; a decoder does not.
    """
    start = start_of_frame(data) - 2
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    decoy = data[start:end]
    true = claiming(data, width, height)[start:end]
    hidden = true + b"\xff\xfe" + (2 + len(decoy)).to_bytes(2, "big")
    step = b"\xff\x00" + (2 + len(hidden)).to_bytes(2, "big")
    return data[:start] + step + hidden + decoy + data[end:]
