"""One connection: bytes to calls and back, in one write for each round of the event loop."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from time import monotonic
from typing import Any, cast

import grpc
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from mlserver.logging import logger

from ...access.read_buffer import give_back_pages
from ...streams.turns import TURN_SECONDS, in_turns
from ...tensors.steps import Steps
from .answering import Find, answer
from .call import Call
from .frames import AbuseError, Frames
from .keepalive import Keepalive
from .leaving import LEAVING, Leaving
from .metadata import (
    OPENING,
    BadCallError,
    Fields,
    MalformedError,
    NoCallError,
    Reader,
    trailers,
)
from .peer import named
from .running import Running
from .sending import Sending
from .wire import (
    CONNECTION_BYTES,
    FAR_WINDOW_BYTES,
    WINDOW_BYTES,
    Wire,
    goaway,
    greeting,
)

# What the transport holds before calls wait; and what it may hold of answers to frames that are no
# calls' before nothing more is read.
HELD_BYTES, CONTROL_BYTES = 64 * 1024, 256 * 1024
# How long a client may take to say that it speaks HTTP/2, and to take our last words.
BEGIN_SECONDS, LAST_SECONDS = 20.0, 5.0
# A line over which it is worth while to have more on its way.
FAR_SECONDS = 0.005
KEEPALIVE = b"keepaliv"


class Connection(asyncio.Protocol):
    """The frames and calls of one client.

    Attributes:
        peer: its address, as gRPC writes one.
        running: its server's.
        delay: seconds that the line takes there and back; 0 until it is known.
        window: bytes that a new call's client may send before it is read.
    """

    def __init__(self, running: Running, find: Find):
        self.loop = asyncio.get_running_loop()
        self.peer = ""
        self.calls: dict[int, Call] = {}
        self.running = running
        self._bounds = running.bounds
        self._find = find
        self._frames = Frames()
        self._h2 = Wire(self._frames.resets)
        self._sending = Sending(self._h2, self._frames.idle)
        self._read_headers = Reader()
        self.delay = 0.0
        self._greeted_at = 0.0
        self._taken = 0
        self._reading: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._is_due = self._is_full = self._is_deaf = self._is_closed = False
        self._is_wide = False
        self._leaving = Leaving(self)

    # The transport's.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(HELD_BYTES)
        if transport.get_extra_info("sslcontext") is not None:
            give_back_pages(transport)
        self.peer = named(transport.get_extra_info("peername"))
        self.running.join(self)
        self._transport.write(greeting(self._bounds.calls))
        self._greeted_at = self.loop.time()
        self.flush()
        self.later(BEGIN_SECONDS, self._check_begun)
        self._keepalive = Keepalive(self._bounds, self.ask, self._transport.abort)
        if self._bounds.age_seconds is not None:
            # So that not all clients come back at once.
            age = self._bounds.age_seconds * random.uniform(0.9, 1.1)
            self.later(age, self.leave)
            self.later(age + self._bounds.age_grace_seconds, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._is_closed:
            return
        self._keepalive.heard()
        self._frames.put(data)
        if self._reading is not None:
            return
        steps, over = self._read(), monotonic() + TURN_SECONDS
        for _ in steps:
            if monotonic() >= over:
                self._reading = self.loop.create_task(self._read_on(steps))
                self._set_reading()
                return

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = self._is_deaf = False
        self._set_reading()
        self._soon()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_closed = True
        self._keepalive.stop()
        for timer in self._timers:
            timer.cancel()
        if self._reading is not None:
            self._reading.cancel()
        self.running.part(self)
        self._lose_all()

    # What comes.

    async def _read_on(self, steps: Steps[None]) -> None:
        """Read what is too much for one turn."""
        await in_turns(steps)
        self._reading = None
        self._set_reading()

    def _set_reading(self) -> None:
        """Read, unless there is enough to do."""
        if self._is_closed:
            return
        if self._reading is not None or self._is_deaf:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _read(self) -> Steps[None]:
        try:
            for frame in self._frames:
                if self._is_closed:
                    return
                for event in self._h2.receive_frame(frame):
                    self._take(event)
                self._soon()
                yield
        except AbuseError as error:
            self._end(error.code)
        except ProtocolError as error:
            self._end(error.error_code)
        except Exception:
            logger.exception("gRPC: a connection failed.")
            self._end(ErrorCodes.INTERNAL_ERROR)

    def _take(self, event: Event) -> None:
        match event:
            case DataReceived():
                size = event.flow_controlled_length or 0
                self._taken += size
                if self._taken >= CONNECTION_BYTES // 2:
                    self._h2.increment_flow_control_window(self._taken)
                    self._taken = 0
                call = self.calls.get(event.stream_id)
                if call is not None and size:
                    call.put(event.data or b"", size)
            case StreamEnded():
                call = self.calls.get(event.stream_id)
                if call is not None:
                    call.end_requests()
            case RequestReceived():
                self._begin(event)
            case StreamReset():
                self._lose(event.stream_id)
            case WindowUpdated():
                self._go_on(event.stream_id)
            case RemoteSettingsChanged():
                self._go_on(0)
            case SettingsAcknowledged():
                self._be_known(event)
            case PingAckReceived() if event.ping_data == LEAVING:
                self._leaving.refuse()

    def _begin(self, event: RequestReceived) -> None:
        stream, is_whole = event.stream_id, event.stream_ended is not None
        if self._leaving.is_refusing or not self.running.has_room(len(self.calls)):
            if self.delay and len(self.calls) >= self._bounds.calls:
                self._frames.resets.spend()  # it knows how many it may have
            self._h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        try:
            asked = self._read_headers(cast(Any, event.headers))
        except MalformedError:
            self._h2.reset_stream(stream, ErrorCodes.PROTOCOL_ERROR)
        except NoCallError as error:
            self._say(stream, [(b":status", b"%d" % error.status)], is_whole)
        except BadCallError as error:
            self._say(stream, OPENING + trailers(error.code, str(error), ()), is_whole)
        else:
            most = self._bounds.message_bytes_of(asked.method)
            call = self.calls[stream] = Call(self, stream, asked, most)
            self.running.enter()
            if is_whole:
                call.end_requests()
            if self._is_wide:
                call.widen()
            call.task = self.loop.create_task(
                answer(call, self._find, self._bounds.request_seconds)
            )

    def _say(self, stream: int, fields: Fields, is_whole: bool) -> None:
        """The last words to a stream. What its client still says is not heard."""
        self._h2.say(stream, fields, is_last=True)
        if not is_whole:
            self._h2.reset_stream(stream, ErrorCodes.NO_ERROR)

    # What calls need.

    @property
    def window(self) -> int:
        return self._h2.window

    def lacks(self) -> None:
        """A call's message is larger than what its client may send by itself."""
        if self.delay >= FAR_SECONDS and not self._is_wide and not self._is_closed:
            self._is_wide = True
            self._h2.widen()
            self._soon()

    def _be_known(self, event: SettingsAcknowledged) -> None:
        """The client knows our settings: the first, or wider windows."""
        if not self.delay:
            self.delay = self.loop.time() - self._greeted_at
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            for call in self.calls.values():
                call.widen(FAR_WINDOW_BYTES - WINDOW_BYTES)

    def grant(self, call: Call, size: int) -> None:
        """Let a call's client send so many bytes more."""
        if not self._is_closed:
            self._h2.increment_flow_control_window(size, call.stream)
            self._soon()

    def has_ready(self, call: Call) -> None:
        """A call has something to send."""
        if not self._is_closed:
            self._sending.put(call)
            self._soon()

    def give_up(self, call: Call) -> None:
        """A call is over, whether or not its client takes what is ready."""
        if self.calls.get(call.stream) is call and not self._is_closed:
            if call.ready:
                self._h2.reset_stream(call.stream, ErrorCodes.CANCEL)
                self._lose(call.stream)
            self._soon()
        if call.task is not None:
            call.task.cancel()

    def _go_on(self, stream: int) -> None:
        """There is room for one stream, or for all."""
        for call in (self.calls.get(stream),) if stream else tuple(self.calls.values()):
            if call is not None and call.ready:
                self.has_ready(call)

    # What goes.

    def _soon(self) -> None:
        if not self._is_due and not self._is_closed:
            self._is_due = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self._is_due = False
        if self._is_closed:
            return
        try:
            if not self._is_full:
                for call in self._sending.send(self.calls):
                    self._complete(call)
        except ProtocolError as error:
            self._end(error.error_code)
            return
        if data := self._h2.data_to_send():
            self._transport.write(data)
        if self._transport.get_write_buffer_size() > CONTROL_BYTES and not self._is_deaf:
            self._is_deaf = True
            self._set_reading()
        if self._sending and not self._is_full:
            self._soon()
        elif not self.calls and (self._leaving.is_refusing or self._frames.peer_leaves):
            self._close()

    def _complete(self, call: Call) -> None:
        assert call.closing is not None
        self._say(call.stream, call.closing, call.is_asked)
        self._lose(call.stream)

    def _lose(self, stream: int) -> None:
        """A call is gone."""
        call = self.calls.pop(stream, None)
        if call is not None:
            call.gone()
            self.running.leave()

    def _lose_all(self) -> None:
        for stream in tuple(self.calls):
            self._lose(stream)
        self._sending.clear()

    # How it ends.

    def later(self, seconds: float, then: Any) -> None:
        self._timers.append(self.loop.call_later(seconds, then))

    def _check_begun(self) -> None:
        if not self._frames.has_begun:
            self._transport.abort()

    def ask(self, data: bytes = KEEPALIVE) -> None:
        """A client that says nothing is asked whether it is there."""
        self._h2.ping(data)
        self._soon()

    def leave(self) -> None:
        """Have the client open no more calls; those that run go on."""
        if not self._is_closed:
            self._leaving.begin()

    def say_goodbye(
        self, last_stream: int | None = None, code: ErrorCodes | int = ErrorCodes.NO_ERROR
    ) -> None:
        if not self._is_closed:
            if last_stream is None:
                last_stream = self._h2.highest_inbound_stream_id
            self._transport.write(goaway(last_stream, code))

    def _end(self, code: ErrorCodes | int) -> None:
        """Something is wrong with all of it."""
        self.say_goodbye(code=code)
        self._close()

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._lose_all()
            if self._transport.can_write_eof() and not self._transport.is_closing():
                # What a client still says would, on a closed socket, have what is on its way to it
                # thrown away; so the client closes first. TLS's close waits by itself.
                self._transport.resume_reading()
                with suppress(
                    OSError
                ):  # asyncio's own, of a client that is gone and not yet seen to be
                    self._transport.write_eof()
            else:
                self._transport.close()
            self.later(LAST_SECONDS, self._transport.abort)

    def cut_off(self) -> None:
        """End what still runs, and the connection."""
        for call in tuple(self.calls.values()):
            if call.task is not None:
                call.task.cancel()
            call.set_code(grpc.StatusCode.UNAVAILABLE)
            call.set_details("The service has stopped.")
            call.finish()
        self.flush()
        self._end(ErrorCodes.NO_ERROR)
