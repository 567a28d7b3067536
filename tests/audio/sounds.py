"""Sounds that tests make: tones, silence, files of them; and the speech that tests share."""

import io
import json
import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from mlserver_streaming.weights import MissingWeightsError, find_weights

RATE = 16_000
SPEECH = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech"
needs_speech = pytest.mark.skipif(
    not (SPEECH / "manifest.jsonl").exists(), reason="the shared speech recordings are not here"
)

# A reading of "A Tale of Two Cities" that comes with speech-model's weights.
READING = "assets/two_cities.wav"


def reading(seconds: float) -> NDArray[np.float32]:
    """The first seconds of it at 16 kHz; skips the test where the weights are not installed."""
    try:
        path = find_weights("The test", "moonshine-voice", READING)
    except MissingWeightsError:
        pytest.skip("speech-model's weights are not installed; make setup installs them")
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        data = np.frombuffer(file.readframes(round(seconds * rate)), np.int16)
    return np.asarray(soxr.resample(data.astype(np.float32) / 32768, rate, RATE), np.float32)


def index_first(mp4: bytes) -> bytes:
    """An MP4 whose index came last, with the index before the samples, as `faststart` has it."""
    boxes, at = {}, 0
    while at < len(mp4):
        size = int.from_bytes(mp4[at : at + 4], "big")
        boxes[mp4[at + 4 : at + 8]] = mp4[at : at + size]
        at += size
    moov = bytearray(boxes[b"moov"])
    table = moov.index(b"stco") + 8  # version and flags behind the name, then how many
    for entry in range(int.from_bytes(moov[table : table + 4], "big")):
        place = slice(table + 4 + 4 * entry, table + 8 + 4 * entry)
        moved = int.from_bytes(moov[place], "big") + len(moov)
        moov[place] = moved.to_bytes(4, "big")
    rest = [data for kind, data in boxes.items() if kind not in (b"ftyp", b"moov")]
    return b"".join([boxes[b"ftyp"], bytes(moov), *rest])


def clips() -> list[tuple[bytes, str]]:
    """The shared recordings: WAV files and what is said in them."""
    lines = (SPEECH / "manifest.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [((SPEECH / each["audio_filepath"]).read_bytes(), each["text"]) for each in entries]


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> NDArray[np.float32]:
    at = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def silence(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    return np.zeros(round(seconds * rate), np.float32)


def pcm(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def loud(window: NDArray[np.int16]) -> float:
    """A voice-activity detector that takes every loud sound for a voice."""
    return float(np.abs(window).max() > 1000)


def wav(
    samples: NDArray[np.float32],
    rate: int = RATE,
    *,
    channels: int = 1,
    gains: tuple[float, ...] = (),
    bits: int = 16,
    floating: bool = False,
    claims: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A WAV file; every channel the same, but for `gains`.

    Args:
        gains: of each channel, -1 for one that is upside down.
        claims: the length of the samples that its header says.
        before, after: whole chunks around the samples.
    """
    channels = len(gains) or channels
    wide = np.repeat(samples, channels).astype(np.float64)
    if gains:
        wide *= np.tile(gains, len(samples))
    if floating:
        data = wide.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        data = (np.clip(np.rint(wide * 128), -128, 127) + 128).astype(np.uint8).tobytes()
    elif bits == 24:
        whole = np.clip(np.rint(wide * 2**23), -(2**23), 2**23 - 1).astype("<i4")
        data = whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        top = 2 ** (bits - 1)
        data = np.clip(np.rint(wide * top), -top, top - 1).astype(f"<i{bits // 8}").tobytes()
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 3 if floating else 1, channels, rate, rate * frame, frame, bits)
    size = len(data) if claims is None else claims
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(fmt)) + fmt + before
    body += b"data" + struct.pack("<I", size) + data + (b"\0" * (len(data) % 2)) + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def coded(
    samples: NDArray[np.float32],
    codec: str,
    container: str,
    rate: int = RATE,
    gains: tuple[float, ...] = (1.0,),
    **options: str,
) -> bytes:
    """The samples in a file of another format, written by FFmpeg.

    Args:
        gains: of one or two channels.
        options: of FFmpeg's writer.
    """
    file = io.BytesIO()
    layout = "mono" if len(gains) == 1 else "stereo"
    wide = pcm(np.outer(samples, gains).astype(np.float32).reshape(-1))
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(wide[None, :], format="s16", layout=layout)
        frame.sample_rate = rate
        output.mux(stream.encode(frame))  # type: ignore[attr-defined]
        output.mux(stream.encode(None))  # type: ignore[attr-defined]
    return file.getvalue()
