"""Where speech comes from: files, folders, a manifest, standard input, a microphone."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import av.error

from ..errors import SourceError

AUDIO_SUFFIXES = {
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".webm"),
    *(".m4a", ".mp4", ".mov", ".3gp", ".aac"),
}
CHUNK_SECONDS = 0.1
MICROPHONE_RATE = 16_000
STDIN_BYTES = 3200
# Chunks of a microphone that wait to be sent; more than a few seconds late is lost.
MICROPHONE_AHEAD = 50


@dataclass(frozen=True)
class Clip:
    """A recording: its name, a file's bytes, its length, and what is said in it, if known."""

    name: str
    data: bytes
    seconds: float
    text: str | None = None

    def chunks(self, seconds: float = CHUNK_SECONDS) -> list[bytes]:
        """Its bytes in pieces of about so many seconds of sound."""
        count = max(1, round(self.seconds / seconds))
        size = -(-len(self.data) // count) or 1
        return [self.data[at : at + size] for at in range(0, len(self.data), size)] or [b""]


def find_clips(paths: Iterable[Path], manifest: Path | None) -> list[Clip]:
    """The recordings in files, in folders (by name), and in a manifest.

    A manifest is JSON lines with `audio_filepath`, relative to the manifest, and `text`.
    Raises SourceError for what is not there or not audio.
    """
    clips = []
    for path in paths:
        if path.is_dir():
            files = sorted(
                each for each in path.rglob("*") if each.suffix.lower() in AUDIO_SUFFIXES
            )
            if not files:
                raise SourceError(f"the folder {path} has no audio files")
            clips += [read_clip(each) for each in files]
        else:
            clips.append(read_clip(path))
    if manifest is not None:
        clips += _read_manifest(manifest)
    return clips


def read_clip(path: Path, text: str | None = None) -> Clip:
    """A file; raises SourceError where it cannot be read or is not audio."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise SourceError(f"{path} has no sound")
            length = (container.duration or 0) / av.time_base
            if not length:
                frames = container.decode(audio=0)
                length = sum(frame.samples / frame.sample_rate for frame in frames)
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"{path} is not audio") from error
    return Clip(path.name, data, float(length), text)


def _read_manifest(manifest: Path) -> list[Clip]:
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the manifest {manifest} cannot be read: {error}") from error
    clips = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            path, text = manifest.parent / entry["audio_filepath"], str(entry["text"])
        except (ValueError, TypeError, KeyError) as error:
            raise SourceError(
                f"line {number} of {manifest} is not JSON with 'audio_filepath' and 'text'"
            ) from error
        clips.append(read_clip(path, text))
    if not clips:
        raise SourceError(f"the manifest {manifest} is empty")
    return clips


async def paced(chunks: Iterable[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Chunks at the speed of speech: each when its last sound has been heard. 0: at once."""
    began = time.perf_counter()
    for number, chunk in enumerate(chunks, 1):
        if seconds:
            await asyncio.sleep(max(0.0, began + number * seconds - time.perf_counter()))
        yield chunk


async def standard_input() -> AsyncIterator[bytes]:
    """A file's bytes as they come on standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    try:
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    except ValueError:  # a file, which is never late
        while data := sys.stdin.buffer.read(STDIN_BYTES):
            yield data
        return
    while data := await reader.read(STDIN_BYTES):
        yield data


async def microphone(seconds: float | None) -> AsyncIterator[bytes]:
    """int16 samples at 16 kHz, 100 ms a chunk, for so long or until cancelled.

    Raises SourceError where there is no microphone.
    """
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[bytes] = asyncio.Queue(MICROPHONE_AHEAD)

    def keep(data: object, frames: int, timing: object, status: object) -> None:
        def put(chunk: bytes) -> None:
            if not heard.full():
                heard.put_nowait(chunk)

        loop.call_soon_threadsafe(put, bytes(data))  # type: ignore[call-overload]

    try:
        import sounddevice

        stream = sounddevice.RawInputStream(
            samplerate=MICROPHONE_RATE,
            channels=1,
            dtype="int16",
            blocksize=int(MICROPHONE_RATE * CHUNK_SECONDS),
            callback=keep,
        )
    except ModuleNotFoundError as error:
        raise SourceError("a microphone needs the Python package 'sounddevice'") from error
    except Exception as error:  # no PortAudio is an OSError, no microphone an error of its own
        raise SourceError(f"there is no microphone: {error}") from error
    with stream:
        end = None if seconds is None else loop.time() + seconds
        while end is None or loop.time() < end:
            yield await heard.get()
