"""Which reader a file gets, and FFmpeg's formats in pieces of any size."""

import tracemalloc

import numpy as np
import pytest

from mlserver_streaming.audio.decoding import FileReader, demuxer_of
from mlserver_streaming.audio.errors import AudioError, TooLongError
from mlserver_streaming.audio.mp4 import KEPT_BYTES
from tests.audio.sounds import coded, index_first, silence, tone, wav

FORMS = {
    "flac": ("flac", "flac"),
    "ogg": ("libopus", "ogg"),
    "mp3": ("libmp3lame", "mp3"),
    "webm": ("libopus", "webm"),
    "a-law": ("pcm_alaw", "wav"),
    "adts": ("aac", "adts"),
}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "100000"}


def m4a(kind: str, seconds: float, rate: int = 48_000) -> bytes:
    """A voice memo whose index comes last or first, or one of fragments."""
    options = FRAGMENTS if kind == "fragments" else {}
    last = coded(tone(seconds, rate=rate), "aac", "ipod", rate=rate, **options)
    return index_first(last) if kind == "first" else last


def read(data: bytes, size: int) -> tuple[np.ndarray, int]:
    reader = FileReader(max_seconds=60)
    found = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]
    found.append(reader.finish())
    return np.concatenate(found), reader.rate


def check_half_a_second_of_the_tone(data: bytes) -> None:
    """Whole, and the same in pieces of any size."""
    whole, rate = read(data, len(data))
    assert rate == 48_000
    assert abs(len(whole) / rate - 0.5) < 0.1
    spectrum = np.abs(np.fft.rfft(whole))
    assert abs(spectrum.argmax() * rate / len(whole) - 440) < 5
    for size in (1, 333):
        pieces, _ = read(data, size)
        assert np.array_equal(pieces, whole)


@pytest.mark.parametrize("form", FORMS)
def test_formats_in_pieces(form: str) -> None:
    data = coded(tone(0.5, rate=48_000), *FORMS[form], rate=48_000)
    check_half_a_second_of_the_tone(data)


@pytest.mark.parametrize("kind", ["last", "first", "fragments"])
def test_voice_memos_in_pieces(kind: str) -> None:
    data = m4a(kind, 0.5)
    assert (data.index(b"mdat") < data.index(b"moov")) is (kind == "last")
    check_half_a_second_of_the_tone(data)


@pytest.mark.parametrize("kind", ["first", "fragments"])
def test_a_voice_memo_whose_index_comes_first_is_decoded_before_it_ends(kind: str) -> None:
    data = m4a(kind, 5)
    reader = FileReader(max_seconds=60)
    early = sum(len(reader.feed(data[at : at + 500])) for at in range(0, len(data) // 2, 500))
    reader.close()
    assert early > 48_000


def test_a_voice_memo_that_broke_off() -> None:
    for kind in ("first", "fragments"):
        data = m4a(kind, 2)
        found, rate = read(data[: len(data) * 3 // 4], 1000)
        assert len(found) > 0.9 * rate
    with pytest.raises(AudioError, match=r"index \(moov\) is missing"):
        read(m4a("last", 2)[:9000], 1000)


def test_a_voice_memo_whose_index_comes_too_late() -> None:
    reader = FileReader(max_seconds=60)
    reader.feed(m4a("last", 0.1)[:60])
    with pytest.raises(AudioError, match="not among its first 16 MiB; move it to the front"):
        for _ in range(KEPT_BYTES // 1_000_000 + 1):
            reader.feed(bytes(1_000_000))
    reader.close()
    reader = FileReader(max_seconds=1)
    reader.feed(m4a("last", 2))
    with pytest.raises(TooLongError, match="more than 1 s of audio, and its index comes last"):
        reader.finish()


def test_a_picture_in_boxes_has_no_sound() -> None:
    boxes = [b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", b"\0\0\0\x08moov", bytes(64)]
    with pytest.raises(AudioError):
        read(b"".join(boxes), 1000)
    with pytest.raises(AudioError, match="damaged"):
        read(b"\0\0\0\x18ftypM4A \0\0\0\0M4A mif1" + bytes(64), 1000)


def test_a_stream_is_decoded_before_it_ends() -> None:
    data = coded(tone(5), "flac", "flac")
    reader = FileReader(max_seconds=60)
    early = sum(len(reader.feed(data[at : at + 500])) for at in range(0, len(data) // 2, 500))
    reader.close()
    assert early > 16_000


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_broke_off_is_used(form: str) -> None:
    data = coded(tone(2), *FORMS[form])
    found, rate = read(data[: len(data) * 3 // 4], 1000)
    assert len(found) > 0.9 * rate


@pytest.mark.parametrize(
    "data",
    [b"hello, this is text and no audio", b"x", b"\x89PNG\r\n\x1a\n" + bytes(40), bytes(1000)],
    ids=["text", "a byte", "png", "zeros"],
)
def test_not_audio(data: bytes) -> None:
    for size in (1, 1000):
        with pytest.raises(AudioError, match="not audio"):
            read(data, size)


@pytest.mark.parametrize("start", [b"fLaC", b"OggS", b"ID3\x04", b"\xff\xfb\x90\x64"])
def test_something_that_only_begins_like_audio(start: bytes) -> None:
    with pytest.raises(AudioError):
        read(start + b"\x5a" * 3000, 500)


def test_too_long_for_one_go() -> None:
    for data in (wav(silence(2)), coded(silence(2), "flac", "flac")):
        reader = FileReader(max_seconds=1)
        with pytest.raises(TooLongError, match="more than 1 s"):
            reader.feed(data)
            reader.finish()
        reader.close()


def test_a_long_wav_is_refused_by_its_header_before_it_is_read() -> None:
    reader = FileReader(max_seconds=1)
    whole = wav(silence(600))
    tracemalloc.start()
    with pytest.raises(TooLongError, match="more than 1 s"):
        reader.feed(whole)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A piece of the file as bytes, and as samples of twice their size.
    assert most < len(whole) // 4


def test_a_long_wav_may_come_in_chunks() -> None:
    reader = FileReader(max_seconds=1)
    whole = wav(silence(3))
    found = [reader.feed(whole[at : at + 16_000]) for at in range(0, len(whole), 16_000)]
    assert sum(map(len, found)) == 3 * reader.rate


def test_names_of_playlists_are_never_opened() -> None:
    for start in (
        b"#EXTM3U\nfile:///x",
        b"ffconcat version 1",
        b"RIFF1234AVI LIST",
        b"[playlist]  ",
    ):
        assert demuxer_of(start) is None
