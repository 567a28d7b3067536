"""A real Chromium, headless, with a camera and a microphone that are files of ours."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.shared_data import DATA

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)
VOICE = DATA / "speech" / "sense_and_sensibility_01_austen_64kb-0880.wav"
RATE = 16000
SIZE = (320, 240)
FRAMES = 60
RATE_OF_FRAMES = 30


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """One that sees a moving square and hears a voice, or a tone where there is none here."""
    camera, microphone = folder / "camera.mjpeg", folder / "microphone.wav"
    camera.write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames()))
    write_sound(microphone)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",  # which root has not
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={camera}",
                f"--use-file-for-fake-audio-capture={microphone}",
            ],
        )
        try:
            yield started
        finally:
            started.close()


def frames() -> Iterator[np.ndarray]:
    """A square on its way from left to right, again and again."""
    width, height = SIZE
    for at in range(FRAMES):
        frame = np.full((height, width, 3), 60, np.uint8)
        left = 4 * at % (width - 60)
        frame[80:140, left : left + 60] = (40, 200, 240)
        yield frame


def write_video(path: Path) -> None:
    """A second of it."""
    with av.open(path, "w") as file:
        stream = file.add_stream("libvpx", rate=RATE_OF_FRAMES)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"deadline": "realtime", "cpu-used": "8"}
        for frame in islice(frames(), RATE_OF_FRAMES):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "bgr24")))
        file.mux(stream.encode())


def write_sound(path: Path) -> None:
    """A voice and a second of silence, which ends what it said; or a tone."""
    if VOICE.is_file():
        with wave.open(str(VOICE)) as voice:
            parameters, samples = voice.getparams(), voice.readframes(voice.getnframes())
        samples += bytes(2 * parameters.framerate)
    else:
        parameters = (1, 2, RATE, 0, "NONE", "")
        times = np.arange(RATE) / RATE
        samples = (8000 * np.sin(2 * np.pi * 440 * times)).astype("<i2").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams(parameters)
        file.writeframes(samples)


class Watched:
    """A page, and all that it should not do."""

    def __init__(self, page: Page, url: str):
        self.page = page
        self.sockets = 0
        # What the page shows as a sentence, the console shows too.
        self.expected: tuple[str, ...] = ()
        self._faults: list[str] = []
        self._host = urlsplit(url).netloc
        page.on("pageerror", lambda error: self._faults.append(str(error)))
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._opened(socket.url))

    @property
    def faults(self) -> list[str]:
        return [fault for fault in self._faults if not any(each in fault for each in self.expected)]

    def _said(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self._faults.append(text)

    def _opened(self, url: str) -> None:
        self.sockets += 1
        self._asked(url)

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"blob", "data"} and parts.netloc != self._host:
            self._faults.append(f"another host was asked: {url}")
