"""JPEG bytes <-> images: what is kept, what is refused, and before what is spent on it."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlserver_streaming.vision import jpeg as module
from mlserver_streaming.vision.jpeg import (
    JpegError,
    JpegHeader,
    decode,
    encode,
    read_header,
    recode,
)
from tests.vision.jpegs import (
    claiming,
    cmyk,
    jpeg,
    picture,
    segment,
    smuggled,
    start_of_frame,
    with_exif,
)

COLOUR = jpeg()
GREY = jpeg(picture(grey=True))
PROGRESSIVE = jpeg(progressive=True)
FORMS = {
    "colour": COLOUR,
    "grey": GREY,
    "progressive": PROGRESSIVE,
    "cmyk": cmyk(),
    "one pixel": jpeg(picture(1, 1)),
    "odd size": jpeg(picture(37, 23)),
    "restart markers": cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[
        1
    ].tobytes(),
    "exif": with_exif(COLOUR, thumbnail=jpeg(picture(16, 16))),
    "two applications": COLOUR[:2]
    + segment(0xE2, b"x" * 60_000)
    + segment(0xE3, b"\xff\xd9")
    + COLOUR[2:],
    "comment": COLOUR[:2] + segment(0xFE, b"\xff\xd8\xff\xc0 no header") + COLOUR[2:],
    "fill bytes": COLOUR[:2] + b"\xff\xff\xff" + COLOUR[2:],
    "trailing bytes": COLOUR + b"\x00" * 300 + b"trailer",
    "another JPEG behind": COLOUR + jpeg(picture(16, 16)),
}


def differs(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.fixture
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def imdecode(*arguments: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(module.cv2, "imdecode", imdecode)


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_every_form_of_jpeg_is_decoded_at_the_size_of_its_header(data: bytes) -> None:
    header = read_header(data)
    image = decode(data)
    assert image.dtype == np.uint8
    assert image.shape[:2] == (header.height, header.width)


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_recoding_keeps_size_and_looks(data: bytes) -> None:
    before, after = decode(data), decode(recode(data))
    assert after.shape == before.shape
    assert differs(before, after) < 3


def test_header() -> None:
    assert read_header(COLOUR) == JpegHeader(width=64, height=48, components=3)
    assert read_header(GREY) == JpegHeader(width=64, height=48, components=1)
    assert read_header(cmyk()) == JpegHeader(width=8, height=8, components=4)


def test_grey_stays_grey() -> None:
    assert decode(GREY).shape == (48, 64)
    assert read_header(recode(GREY)).components == 1
    assert decode(COLOUR).shape == (48, 64, 3)
    assert read_header(recode(COLOUR)).components == 3


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda image: image),
        (2, lambda image: cv2.flip(image, 1)),
        (3, lambda image: cv2.rotate(image, cv2.ROTATE_180)),
        (4, lambda image: cv2.flip(image, 0)),
        (5, cv2.transpose),
        (6, lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)),
        (7, lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180)),
        (8, lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)),
    ],
)
def test_exif_orientation_is_applied(orientation: int, upright: object, grey: bool) -> None:
    stored = jpeg(picture(grey=grey))
    expected = upright(decode(stored))
    turned = with_exif(stored, orientation)
    np.testing.assert_array_equal(decode(turned), expected)
    again = decode(recode(turned))
    assert again.shape == expected.shape
    assert differs(again, expected) < 3


def test_better_quality_is_larger_and_closer() -> None:
    image = picture(320, 240)
    sizes = [len(encode(image, quality)) for quality in (1, 30, 95, 100)]
    assert sizes == sorted(set(sizes))
    assert differs(decode(encode(image, 100)), image) < differs(decode(encode(image, 10)), image)


@pytest.mark.parametrize("data", [COLOUR, PROGRESSIVE], ids=["baseline", "progressive"])
@pytest.mark.parametrize("size", [(60_000, 60_000), (65_535, 65_535), (65_535, 1000)])
def test_a_header_past_the_limit_is_refused_before_decoding(
    data: bytes, size: tuple[int, int], nothing_is_decoded: None
) -> None:
    with pytest.raises(JpegError, match=f"has {size[0]}x{size[1]} pixels; at most 50 megapixels"):
        decode(claiming(data, *size), max_pixels=50_000_000)


def test_a_large_header_cannot_hide_from_the_limit(nothing_is_decoded: None) -> None:
    with pytest.raises(JpegError, match="20000x20000"):
        decode(smuggled(COLOUR, 20_000, 20_000), max_pixels=50_000_000)


def test_the_limit_itself_is_allowed() -> None:
    assert decode(COLOUR, max_pixels=64 * 48).shape == (48, 64, 3)
    with pytest.raises(JpegError):
        decode(COLOUR, max_pixels=64 * 48 - 1)


@pytest.mark.parametrize("data", [COLOUR, GREY, PROGRESSIVE, cmyk()])
def test_a_jpeg_cut_anywhere_is_refused(data: bytes, nothing_is_decoded: None) -> None:
    for length in range(len(data) - 1):
        with pytest.raises(JpegError):
            decode(data[:length])


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image(nothing_is_decoded: None) -> None:
    thumbnail = jpeg(picture(16, 16))
    assert thumbnail.endswith(b"\xff\xd9")
    with pytest.raises(JpegError, match="truncated"):
        decode(with_exif(COLOUR, thumbnail=thumbnail)[:-20])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"not a jpeg",
        b"\x89PNG\r\n\x1a\n",
        COLOUR[1:],
        b"\x00" + COLOUR,
        b"\xff\xd8" * 1000,
        b"\xff" * 1000,
        b"\xff\xd8" + b"\x00" * 1000,
    ],
)
def test_what_is_no_jpeg_is_refused(data: bytes, nothing_is_decoded: None) -> None:
    with pytest.raises(JpegError):
        decode(data)


def test_another_image_format_is_no_jpeg() -> None:
    for extension in (".png", ".bmp", ".webp"):
        with pytest.raises(JpegError, match="not a JPEG"):
            decode(cv2.imencode(extension, picture())[1].tobytes())


@pytest.mark.parametrize("size", [(0, 48), (64, 0), (0, 0)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(JpegError, match="no pixels"):
        decode(claiming(COLOUR, *size))


def test_an_image_that_jpeg_cannot_hold_is_refused() -> None:
    with pytest.raises(JpegError):
        encode(np.zeros((1, 70_000), np.uint8))
    with pytest.raises(JpegError):
        encode(np.zeros((0, 0), np.uint8))


def is_image_or_error(data: bytes) -> None:
    try:
        header = read_header(data)
        image = decode(data, max_pixels=1_000_000)
    except JpegError as error:
        assert "\n" not in str(error)
        assert str(error).endswith(".")
    else:
        # EXIF may turn it; nothing may make it larger than its header said.
        assert sorted(image.shape[:2]) == sorted([header.height, header.width])
        assert image.ndim == (2 if header.components == 1 else 3)


@given(st.binary(max_size=2000))
def test_any_bytes_are_an_image_or_a_jpeg_error(data: bytes) -> None:
    is_image_or_error(data)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=12), st.binary())
def test_any_segments_are_an_image_or_a_jpeg_error(
    segments: list[tuple[int, bytes]], pixels: bytes
) -> None:
    is_image_or_error(
        b"\xff\xd8" + b"".join(segment(*each) for each in segments) + pixels + b"\xff\xd9"
    )


@given(
    st.sampled_from(list(FORMS.values())),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    st.booleans(),
)
@example(COLOUR, [(0.0, 0)], False)
def test_a_damaged_jpeg_is_an_image_or_a_jpeg_error(
    data: bytes, changes: list[tuple[float, int]], in_header: bool
) -> None:
    damaged = bytearray(data)
    reach = start_of_frame(data) + 60 if in_header else len(data)
    for place, value in changes:
        damaged[int(place * (min(reach, len(damaged)) - 1))] = value
    is_image_or_error(bytes(damaged))
