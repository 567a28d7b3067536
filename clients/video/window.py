"""A window with the result, where there is a display."""

from __future__ import annotations

import os
import sys

import cv2
from tqdm import tqdm

from mlserver_streaming.vision.jpeg import Image

_NAME = "video_client"
NO_WINDOW = "No window: there is no display, or this OpenCV has none built in (headless)."


class Window:
    """A window with the result, where there is a display."""

    def __init__(self) -> None:
        # Qt ends the whole process when it finds no display.
        displays = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        self._works = bool(displays) or not sys.platform.startswith("linux")
        if not self._works:
            tqdm.write(NO_WINDOW, file=sys.stderr)

    def show(self, image: Image) -> bool:
        """Show one image; False once the user has pressed q or Esc."""
        if not self._works:
            return True
        try:
            cv2.imshow(_NAME, image)
            return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)
        except cv2.error:
            self._works = False
            tqdm.write(NO_WINDOW, file=sys.stderr)
            return True
