"""The frames of one connection, cut and bounded before `h2` works on them. Pure.

https://www.rfc-editor.org/rfc/rfc9113#section-10.5 and what was found since: rapid resets
(CVE-2023-44487), also such that a server is made to send (CVE-2025-8671), endless headers
(CVE-2024-27316), floods of small frames (CVE-2019-9512 to 9518).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

from h2.errors import ErrorCodes

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
# A whole frame is held before it is read: 64 KiB need a fourth of the frames of the default.
FRAME_BYTES = 64 * 1024
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
# A call's headers, packed: what they may have unpacked, and room for lists that are refused with
# a status; and in how many frames.
HEADERS_BYTES, HEADERS_FRAMES = 64 * 1024, 8
# Calls that a client gives up, or whose fault has us reset them: so many at once (some times all of
# a connection), and a second.
RESETS, RESETS_A_SECOND = 2000, 500
# Frames that move nothing, before a call moves again: a client's pings measure its line.
IDLE_FRAMES, IDLE_FRAMES_A_SECOND = 1000, 100


class AbuseError(Exception):
    """The connection is to end, with this code."""

    def __init__(self, code: ErrorCodes):
        super().__init__(code.name)
        self.code = code


class Allowance:
    """So many at once, and so many each second."""

    def __init__(self, most: int, a_second: float, clock: Callable[[], float] = monotonic):
        self._most, self._a_second, self._clock = most, a_second, clock
        self._left, self._at = float(most), clock()

    def spend(self) -> None:
        """One more.

        Raises:
            AbuseError: that is too many.
        """
        self._left -= 1
        if self._left < 0:
            now = self._clock()
            earned = (now - self._at) * self._a_second
            self._left, self._at = min(self._most, self._left + earned), now
            if self._left < 0:
                raise AbuseError(ErrorCodes.ENHANCE_YOUR_CALM)

    def renew(self) -> None:
        self._left = self._most


class Frames:
    """What comes on a connection, as whole frames.

    Attributes:
        has_begun: whether the preface and the first frame, SETTINGS, have come.
        peer_leaves: whether the client said GOAWAY: it opens no more calls.
        idle: what it may send that moves nothing.
        resets: calls that it may reset, or have reset.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.peer_leaves = False
        self.idle = Allowance(IDLE_FRAMES, IDLE_FRAMES_A_SECOND)
        self.resets = Allowance(RESETS, RESETS_A_SECOND)
        self._data = bytearray()
        self._preface = PREFACE
        self._headers = self._headers_frames = 0

    def put(self, data: bytes) -> None:
        self._data += data

    def __iter__(self) -> Iterator[bytes]:
        """All that is whole, for `h2`; all but a GOAWAY.

        Raises:
            AbuseError: the client sends what it may not, or too much of it.
        """
        data = self._data
        while self._preface:
            begin = bytes(data[: len(self._preface)])
            if not begin or not self._preface.startswith(begin):
                if begin:
                    raise AbuseError(ErrorCodes.PROTOCOL_ERROR)
                return
            del data[: len(begin)]
            self._preface = self._preface[len(begin) :]
            yield begin
        while len(data) >= HEAD_BYTES:
            size = HEAD_BYTES + int.from_bytes(data[:3])
            if size > HEAD_BYTES + FRAME_BYTES:
                raise AbuseError(ErrorCodes.FRAME_SIZE_ERROR)
            if len(data) < size:
                return
            with memoryview(data) as view:
                frame = bytes(view[:size])
            del data[:size]
            if self._is_for_h2(frame, size - HEAD_BYTES):
                yield frame

    def _is_for_h2(self, frame: bytes, size: int) -> bool:
        kind, flags = frame[3:5]
        if not self.has_begun:
            if kind != SETTINGS:
                raise AbuseError(ErrorCodes.PROTOCOL_ERROR)
            self.has_begun = True
        if kind == DATA:
            if not size and not flags & END_STREAM:
                self.idle.spend()
        elif kind in (HEADERS, CONTINUATION):
            self._count_headers(kind, flags, size)
        elif kind == RST_STREAM:
            self.resets.spend()
        elif kind == GOAWAY:
            # For h2 the connection would be over, and the calls that run could not be answered.
            if any(frame[5:HEAD_BYTES]):
                raise AbuseError(ErrorCodes.PROTOCOL_ERROR)  # it is of a call
            self.peer_leaves = True
            return False
        else:
            self.idle.spend()
        return True

    def _count_headers(self, kind: int, flags: int, size: int) -> None:
        if kind == HEADERS:
            self._headers = self._headers_frames = 0
        self._headers += size
        self._headers_frames += 1
        if self._headers > HEADERS_BYTES or self._headers_frames > HEADERS_FRAMES:
            raise AbuseError(ErrorCodes.ENHANCE_YOUR_CALM)
