"""WAV files in pieces of any size, and headers that lie."""

import numpy as np
import pytest

from mlserver_streaming.audio.errors import AudioError
from mlserver_streaming.audio.wav import OtherCodecError, WavReader
from tests.audio.sounds import tone, wav

SOUND = tone(0.05)


def read(data: bytes, size: int) -> np.ndarray:
    reader = WavReader()
    found = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return np.concatenate([*found, reader.finish()])


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    "form",
    [
        {"bits": 8},
        {"bits": 16},
        {"bits": 24},
        {"bits": 32},
        {"bits": 32, "floating": True},
        {"bits": 64, "floating": True},
        {"bits": 16, "channels": 2},
        {"bits": 24, "channels": 3},
    ],
    ids=str,
)
def test_forms(form: dict, size: int) -> None:
    found = read(wav(SOUND, **form), size)
    assert found.dtype == np.float32
    assert np.allclose(found, SOUND, atol=1 / 100 if form["bits"] == 8 else 1e-4)


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("claims", [0, 0xFFFFFFFF, 0x7FFFFFFF, 10_000_000, 50, 51])
def test_a_length_that_lies(claims: int, size: int) -> None:
    assert len(read(wav(SOUND, claims=claims), size)) == len(SOUND)


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("samples", [800, 799])
def test_other_chunks_are_no_samples(samples: int, size: int) -> None:
    chunk = b"LIST\x06\x00\x00\x00INFOxy"
    data = wav(SOUND[:samples], bits=8, before=chunk, after=chunk)
    assert len(read(data, size)) == samples


def test_a_file_that_broke_off() -> None:
    data = wav(SOUND)
    assert len(read(data[:-101], 64)) == len(SOUND) - 51


@pytest.mark.parametrize("kept", [4, 20, 40])
def test_a_file_that_broke_off_in_its_header(kept: int) -> None:
    with pytest.raises(AudioError, match="ends within its header"):
        read(wav(SOUND)[:kept], 100)


def test_damaged_headers() -> None:
    data = wav(SOUND)
    with pytest.raises(AudioError, match="0 channels"):
        read(data[:22] + b"\0\0" + data[24:], 100)
    with pytest.raises(AudioError, match="sample rate must be from 2000"):
        read(data[:24] + b"\0\0\0\0" + data[28:], 100)
    with pytest.raises(AudioError, match="damaged"):
        read(data[:12] + b"\x00\xff\x00\xff" + data[16:], 100)
    with pytest.raises(AudioError, match="no 'fmt ' chunk"):
        read(data[:12] + data[36:], 100)
    with pytest.raises(OtherCodecError, match="codec 6"):
        read(data[:20] + b"\6\0" + data[22:], 100)


def test_floats_out_of_range() -> None:
    with pytest.raises(AudioError, match="within -1 to 1, but there is 4"):
        read(wav(SOUND * 8, bits=32, floating=True), 100_000)
    broken = SOUND.copy()
    broken[3] = np.nan
    with pytest.raises(AudioError, match="sample 3 is not a finite number"):
        read(wav(broken, bits=32, floating=True), 100_000)
