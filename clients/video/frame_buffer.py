"""Frames between the thread that reads a source and the task that sends them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from enum import StrEnum

from ..errors import ClientError
from .frame_source import FrameSource, SourceFrame

# Enough to hide the time that it takes to read one.
WAITING = 4
# A frame that is due at 0.25 s may say 0.2499.
SLACK_S = 0.001


class Policy(StrEnum):
    """What happens to frames that come faster than they are sent: the source waits, or only the
    latest is kept."""

    WAIT, LATEST = "wait", "latest"


class FrameBuffer:
    """Reads a source in a thread of its own and hands the frames over, in order.

    Under LATEST it holds one frame: a newer one takes its place, and the older is counted in
    `dropped`. Whether one is dropped depends on nothing but whether it was still there.
    """

    def __init__(
        self,
        source: FrameSource,
        policy: Policy,
        *,
        stride: int = 1,
        fps_cap: float | None = None,
        max_frames: int | None = None,
    ) -> None:
        """
        Args:
            stride: of so many frames, only the first is used.
            fps_cap: of each second of the source at most so many frames; those between are left
                out.
            max_frames: the end, after so many frames used.
        """
        self.dropped = 0
        self._source, self._policy = source, policy
        self._stride, self._max_frames = stride, max_frames
        self._interval = 1 / fps_cap if fps_cap else 0.0
        self._limit = 1 if policy is Policy.LATEST else WAITING
        self._frames: deque[SourceFrame] = deque()
        self._lock = threading.Condition()
        self._error: ClientError | None = None
        self._ended = self._closed = False
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        # A source that blocks for ever must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, daemon=True, name="frame-source")
        self._thread.start()

    async def get(self) -> SourceFrame | None:
        """The next frame; None at the end.

        Raises:
            ClientError: the source failed, after the frames before that.
        """
        while True:
            with self._lock:
                if self._frames:
                    frame = self._frames.popleft()
                    self._lock.notify()
                    return frame
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        """Stop reading."""
        with self._lock:
            self._closed = True
            self._lock.notify()

    def _run(self) -> None:
        try:
            self._read_all()
        except ClientError as error:
            self._error = error
        finally:
            with self._lock:
                self._ended = True
            self._tell()

    def _read_all(self) -> None:
        used, due = 0, 0.0
        while self._max_frames is None or used < self._max_frames:
            frame = self._source.read()
            if frame is None or self._closed:
                return
            if frame.index % self._stride:
                continue
            if self._interval:
                if frame.time < due - SLACK_S:
                    continue
                # In step with the source's clock; after a silence it begins anew.
                due += self._interval
                if due <= frame.time:
                    due = frame.time + self._interval
            if not self._put(frame):
                return
            used += 1

    def _put(self, frame: SourceFrame) -> bool:
        with self._lock:
            while len(self._frames) >= self._limit and not self._closed:
                if self._policy is Policy.LATEST:
                    self._frames.popleft()
                    self.dropped += 1
                else:
                    self._lock.wait()
            self._frames.append(frame)
        self._tell()
        return not self._closed

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:
            # The loop has been closed: nobody waits any more.
            self._closed = True
