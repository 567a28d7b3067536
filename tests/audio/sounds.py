"""Sounds that tests make: tones, silence, files of them; and the speech that tests share."""

import io
import json
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

RATE = 16_000
SPEECH = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech"
needs_speech = pytest.mark.skipif(
    not (SPEECH / "manifest.jsonl").exists(), reason="the shared speech recordings are not here"
)


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
    bits: int = 16,
    floating: bool = False,
    claims: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A WAV file; every channel the same.

    Args:
        claims: the length of the samples that its header says.
        before, after: whole chunks around the samples.
    """
    wide = np.repeat(samples, channels).astype(np.float64)
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


def coded(samples: NDArray[np.float32], codec: str, container: str, rate: int = RATE) -> bytes:
    """The samples in a file of another format, written by FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm(samples)[None, :], format="s16", layout="mono")
        frame.sample_rate = rate
        output.mux(stream.encode(frame))  # type: ignore[attr-defined]
        output.mux(stream.encode(None))  # type: ignore[attr-defined]
    return file.getvalue()
