"""RFC 6455: uvicorn's protocol, with bounds of our own.

What a peer sends ahead of its readers is bounded in messages and bytes, fragments do not add up to
more than their message, and a peer that does not take what is written is given up. Who writes much
has a way past ASGI: messages that are ready together leave as one write.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Close, Frame

from ..streams.room import Room
from ..streams.turns import TURN_SECONDS, in_turns
from ..tensors.steps import COPIED_BYTES, Steps
from .messages_ahead import BYTES_AHEAD, MessagesAhead
from .websocket_connection import (
    BUSY,
    NOT_UTF8,
    RESTART,
    SENTENCES,
    WebSocketConnection,
    fit_reason,
)
from .websocket_messages import BINARY, TEXT, Binary, Message, check_text

# The key in an ASGI scope's extensions of the connection itself.
FRAMES = "mlserver_streaming.frames"
# What is parsed at once: the smallest frames have six bytes, and each takes fifty times as much of
# memory, and 20 us.
PIECE_BYTES = 4 * 1024
# After we have closed: for the peer to take it, and to say so. Closed at once, with what it still
# sends unread, the connection would be reset, and it could lose the reason.
CLOSE_SECONDS = 5
# Of text: shorter ones hardly shrink alone, and longer ones would keep the loop.
COMPRESSED_BYTES = range(1024, COPIED_BYTES)
UNREADABLE = "A request for a WebSocket has no body, and headers as RFC 9110 has them."


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection that has been upgraded.

    Attributes:
        is_gone: whether its peer has left, or was made to.
        on_gone: called when it leaves.
    """

    def __init__(self, *arguments: Any, room: Room, **named: Any):
        """
        Args:
            room: what requests may have until they are whole.
        """
        super().__init__(*arguments, **named)
        config = self.config
        self._ahead = MessagesAhead(config.ws_max_size, room, self._read, lambda: self.fail(BUSY))
        self.conn = WebSocketConnection(
            config.ws_max_size, config.ws_per_message_deflate, self._ahead.lend
        )
        self.is_gone = False
        self.on_gone: Callable[[], object] | None = None
        self._part: bytearray | None = None
        self._is_text = False
        self._backlog = b""
        # The rest of what came at once, on its way through the parser.
        self._rest: asyncio.Task[None] | None = None
        # Nothing is read of what comes.
        self._is_deaf = False
        self._late_pong = b""

    # -- what comes --

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._backlog = self._backlog + data if self._backlog else data
        self._read()

    def _read(self) -> None:
        """Parse what has come, as far as there is room for it. Of pings and empty fragments there
        always is: what takes long is left for later, in turns with everybody's long work."""
        if self._rest is None and not self._parse():
            self._rest = self.loop.create_task(self._parse_rest())
        self._hold_back()

    async def _parse_rest(self) -> None:
        try:
            await in_turns(self._parsing())
        finally:
            self._rest = None
        self._hold_back()

    def _parsing(self) -> Steps[None]:
        yield  # its turn
        while not self._parse():
            yield

    def _parse(self) -> bool:
        """Parse for as long as a turn lasts; whether that was all, for now."""
        data, self._backlog = memoryview(self._backlog), b""
        at, turn_over = 0, monotonic() + TURN_SECONDS
        is_over = False
        while at < len(data) and not (self._is_deaf or self._is_opening() or self._has_enough()):
            if is_over := at > 0 and monotonic() >= turn_over:
                break
            self.conn.receive_data(data[at : at + PIECE_BYTES])  # type: ignore[arg-type]
            at += PIECE_BYTES
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                self._refuse()
                return True
            self.handle_events()
            if self.conn.parser_exc is not None:
                self.handle_parser_exception()
            part = 0 if self._part is None else len(self._part)
            self._ahead.come(part + len(self.conn.reader.buffer))
        if not self._is_deaf:
            self._backlog = bytes(data[at:])
        return not is_over

    def _is_opening(self) -> bool:
        """Whether the upgrade is asked for and not answered: frames come too early."""
        return self.handshake_initiated and not self.handshake_complete

    def _has_enough(self) -> bool:
        if self.close_sent or self.is_gone:
            return False
        if self._is_opening():
            return len(self._backlog) >= BYTES_AHEAD
        return self._ahead.is_enough

    def _hold_back(self) -> None:
        """Read no more than is wanted."""
        has_enough = self._rest is not None or self._has_enough()
        if has_enough != self.read_paused and not self.transport.is_closing():
            self.read_paused = has_enough
            if has_enough:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][FRAMES] = {"frames": self}

    def handle_text(self, event: Frame) -> None:
        self._is_text = True
        self._begin(event)

    def handle_bytes(self, event: Frame) -> None:
        self._is_text = False
        self._begin(event)

    def handle_cont(self, event: Frame) -> None:
        data = _taken_out(event)
        if self._part is None:  # what it is of is not wanted any more
            return
        self._part += data
        if event.fin:
            whole, self._part = bytes(self._part), None
            self._put(whole)

    def _begin(self, frame: Frame) -> None:
        data = _taken_out(frame)
        if frame.fin:
            self._put(bytes(data))
        else:
            self._part = bytearray(data)

    def _put(self, data: bytes) -> None:
        if self.close_sent or self.is_gone:
            return
        event: Any = {"type": "websocket.receive", "data": data, "is_text": self._is_text}
        self._ahead.put(len(data))
        self.queue.put_nowait(event)

    def handle_ping(self) -> None:
        output = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(output)
        else:
            # The last one answers those before it (RFC 6455, 5.5.3), and they take no memory.
            self._late_pong = output

    def resume_writing(self) -> None:
        if self._late_pong and not self.close_sent:
            self.transport.write(self._late_pong)
        self._late_pong = b""
        super().resume_writing()

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._is_deaf = True
        self._leave()

    def handle_parser_exception(self) -> None:
        """What comes is no WebSocket, or too much of one."""
        close = self.conn.close_sent or Close(1006, "")
        self._end(close.code, close.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_deaf, self._backlog = True, b""
        if self._rest is not None:
            self._rest.cancel()
        super().connection_lost(exc)
        self._leave()
        # By hand: these hold one another, and the collector may take its time.
        self._part = None
        self.conn.reader.buffer.clear()
        self._forget_messages()

    def _forget_messages(self) -> None:
        """Nobody takes those that are here."""
        for _ in range(self.queue.qsize()):
            event: Any = self.queue.get_nowait()
            if "data" not in event:
                self.queue.put_nowait(event)

    def _leave(self) -> None:
        self.is_gone = True
        self._ahead.end()
        if self.on_gone is not None:
            self.on_gone()

    def _refuse(self) -> None:
        """The request that asks for the upgrade cannot be read."""
        response = b"".join(self.conn.data_to_send())
        if not response:
            response = self.conn.reject(400, UNREADABLE).serialize()
        self._is_deaf = self.handshake_complete = self.close_sent = True
        self.transport.write(response)
        self.transport.close()

    # -- who takes it --

    async def take(self) -> tuple[bytes, bool] | None:
        """The next message, and whether it is text; None when no more come, or at `wake`."""
        event: Any = await self.queue.get()
        if event["type"] == "websocket.connect":
            event = await self.queue.get()
        if "data" not in event:
            return None
        return await self._taken(event)

    async def _taken(self, event: Any) -> tuple[bytes, bool] | None:
        data: bytes = event["data"]
        self._ahead.take(len(data))
        if self.read_paused and not self._has_enough():
            self._read()
        if event["is_text"] and not (len(data) <= COPIED_BYTES and data.isascii()):
            try:
                await in_turns(check_text(data))
            except UnicodeDecodeError:
                self.fail(NOT_UTF8)
                return None
        return data, event["is_text"]

    def wake(self) -> None:
        """Let who takes messages look up, behind those that are here."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1005})

    async def receive(self) -> Any:
        event: Any = await self.queue.get()
        if "data" not in event:
            return event
        taken = await self._taken(event)
        if taken is None:
            return {"type": "websocket.disconnect", "code": NOT_UTF8}
        data, is_text = taken
        kind = {"text": data.decode()} if is_text else {"bytes": data}
        return {"type": "websocket.receive", **kind}

    # -- what leaves --

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close" and self.handshake_complete:
            if self.disconnected:
                raise ClientDisconnected()
            self.close(message.get("code", 1000), message.get("reason") or "")
            return
        await super().send(message)
        if message["type"] == "websocket.accept" and self._backlog:
            self._read()
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # Or uvicorn logs that nothing was answered.
            self.handshake_complete = True

    def write(self, messages: Sequence[Message]) -> None:
        """Write messages, whether the peer reads or not; wait for `writable` before."""
        if self.close_sent or self.is_gone:
            return
        # By hand: the library takes eight times as long for a small one.
        parts: list[bytes] = []
        for message in messages:
            kind, size = TEXT, len(message)
            if type(message) is Binary:
                kind, message = BINARY, message.data
            elif size in COMPRESSED_BYTES and self.conn.extensions:
                self.conn.send_text(message)  # type: ignore[arg-type]
                parts += self.conn.data_to_send()
                continue
            if size < 126:
                parts.append(bytes((kind, size)))
            elif size < 65536:
                parts.append(struct.pack("!BBH", kind, 126, size))
            else:
                parts.append(struct.pack("!BBQ", kind, 127, size))
            if size > COPIED_BYTES:
                self.transport.write(b"".join(parts))
                self.transport.write(message)  # type: ignore[arg-type]
                parts.clear()
            else:
                parts.append(message)  # type: ignore[arg-type]
        self.transport.write(b"".join(parts))

    def close(self, code: int, reason: str = "") -> None:
        """Say that nothing more comes, and wait for the peer to say so too."""
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_close(code, fit_reason(reason))
        self._closing(code, reason)

    def fail(self, code: int) -> None:
        """Close, for what the peer did."""
        if not (self.close_sent or self.transport.is_closing()):
            self.conn.fail(code)
            self._end(code, SENTENCES.get(code, ""))

    def _end(self, code: int, reason: str) -> None:
        """What it was closed with is written; nothing that comes now is of any meaning."""
        self._is_deaf, self._backlog = True, b""
        self._closing(code, reason)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            with suppress(OSError):  # asyncio's own, of a peer that is gone and not yet seen to be
                self.transport.write_eof()
        self._leave()

    def _closing(self, code: int, reason: str) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.stop_keepalive()
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._part = None
        if self._backlog:
            self._read()
        self._hold_back()
        if self.close_timer is None:
            self._wait_for_reader(-1)

    def _wait_for_reader(self, unsent: int) -> None:
        """Give the connection up once its peer has taken nothing for so long, or all there was."""
        left = self.transport.get_write_buffer_size()
        if unsent >= 0 and (left == 0 or left >= unsent):
            self.transport.abort()
        else:
            after = self.loop.call_later(CLOSE_SECONDS, self._wait_for_reader, left)
            self.close_timer = after

    def shutdown(self) -> None:
        if self.handshake_complete:
            self.close(RESTART, SENTENCES[RESTART])
        super().shutdown()


def _taken_out(frame: Frame) -> Any:
    """Its bytes: the parser keeps a frame until the next one comes."""
    data, frame.data = frame.data, b""
    return data


def frames_of(scope: Scope) -> WebSocketProtocol:
    """The connection of a WebSocket."""
    found: WebSocketProtocol = scope["extensions"][FRAMES]["frames"]
    return found


@contextmanager
def until_gone(frames: WebSocketProtocol) -> Iterator[None]:
    """Serve a connection in this task; its peer's leaving ends what is in here, quietly."""
    task = asyncio.current_task()
    assert task is not None
    frames.on_gone = task.cancel
    try:
        yield
    except asyncio.CancelledError:
        if not frames.is_gone:
            raise
        task.uncancel()
    finally:
        frames.on_gone = None
