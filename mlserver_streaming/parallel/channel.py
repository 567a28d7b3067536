"""One end of the socket between the service and a worker, read and written by the event loop.

What is said in one turn of the loop travels in one frame: a message that travels alone costs four
times as much.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from mlserver.logging import logger

from .frames import Buffer, FrameReader, encode

# Parts of frames in one system call; the kernel's limit is 1,024.
PARTS = 64
# Reads in one turn of the loop: large tensors come in pieces, and others want a turn too.
READS = 32
SOCKET_BYTES = 1024 * 1024


class Channel:
    """Sends messages, and hands on those that come."""

    def __init__(
        self,
        end: socket.socket,
        heard: Callable[[list[Any]], None],
        lost: Callable[[], None],
        unsendable: Callable[[Any, Exception], Any] = lambda message, error: None,
        gather: Callable[[], list[Any]] = list,
    ):
        """
        Args:
            heard: called with messages that came together.
            lost: called once, when the other end is gone.
            unsendable: what to send instead of a message that cannot be pickled, None for nothing.
            gather: more messages for the frame that is about to leave, before the others.
        """
        self._socket = end
        self._heard = heard
        self._lost = lost
        self._unsendable = unsendable
        self._gather = gather
        self._reader = FrameReader()
        self._messages: list[Any] = []
        self._unsent: deque[Buffer] = deque()
        self._flushing = False
        self._waits_to_write = False
        self._loop = asyncio.get_running_loop()
        self.is_closed = False
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)
        self._loop.add_reader(end, self._readable)

    def send(self, message: Any) -> None:
        """Send a message with all that is said in this turn of the loop."""
        if self.is_closed:
            return
        self._messages.append(message)
        if not self._flushing:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Ask for what `gather` has, at the end of this turn."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Say no more, and let the other end know."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.remove_reader(self._socket)
        if self._waits_to_write:
            self._loop.remove_writer(self._socket)
        self._socket.close()
        self._messages.clear()
        self._unsent.clear()

    def _flush(self) -> None:
        self._flushing = False
        if self.is_closed or self._unsent:
            return  # what waits to be written goes first, and then all at once
        gathered = self._gather()
        messages, self._messages = self._messages, []
        if gathered:
            messages = gathered + messages
        if not messages:
            return
        try:
            self._unsent.extend(encode(messages))
        except Exception:
            for message in messages:
                self._unsent.extend(self._encode_alone(message))
        self._write()

    def _encode_alone(self, message: Any) -> list[Buffer]:
        """One message of a frame that cannot be encoded: it may be another one's fault."""
        try:
            return encode([message])
        except Exception as error:
            instead = self._unsendable(message, error)
            return [] if instead is None else encode([instead])

    def _write(self) -> None:
        try:
            while self._unsent:
                self._sent(self._socket.sendmsg(list(islice(self._unsent, PARTS))))
        except BlockingIOError:
            if not self._waits_to_write:
                self._waits_to_write = True
                self._loop.add_writer(self._socket, self._writable)
        except OSError:
            self._lose()

    def _sent(self, size: int) -> None:
        while size:
            part = self._unsent.popleft()
            length = len(part) if isinstance(part, bytes) else part.nbytes
            if length > size:
                self._unsent.appendleft(memoryview(part).cast("B")[size:])
                return
            size -= length
        while self._unsent and not len(self._unsent[0]):
            self._unsent.popleft()

    def _writable(self) -> None:
        self._write()
        if not self._unsent and not self.is_closed:
            self._waits_to_write = False
            self._loop.remove_writer(self._socket)
            self._flush()

    def _readable(self) -> None:
        for _ in range(READS):
            if self.is_closed:
                return
            room = self._reader.room()
            try:
                size = self._socket.recv_into(room)
            except BlockingIOError:
                return
            except OSError:
                size = 0
            if not size:
                self._lose()
                return
            try:
                messages = self._reader.received(size)
            except Exception:
                # What follows in the stream of bytes cannot be told apart any more.
                logger.exception("A message between the service and a worker cannot be read.")
                self._lose()
                return
            if messages:
                self._heard(messages)
            if size < len(room):
                return

    def _lose(self) -> None:
        if not self.is_closed:
            self.close()
            self._lost()
