"""`h2` with our bounds, and the frames that it would not send as gRPC needs them."""

from __future__ import annotations

import struct
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import (
    AllowedStreamIDs,
    ConnectionInputs,
    H2Connection,
    _decode_headers,
)
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamClosedBy, StreamInputs, StreamState
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, SettingsFrame

from .frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HEAD_BYTES,
    HEADERS,
    HEADERS_BYTES,
    PADDED,
    Allowance,
)
from .header_decoder import HeaderDecoder
from .header_encoder import HeaderEncoder
from .metadata import LIST_BYTES, Fields

# What a call's client may send before it is read; and over a far line, whose calls are large.
WINDOW_BYTES, FAR_WINDOW_BYTES = 128 * 1024, 1024 * 1024
# Calls' windows bound what is held; the connection's is given back as its bytes come, half of it at
# once, so that half of it must be more than the 16 MiB of a call.
CONNECTION_BYTES = 64 * 1024 * 1024
FIRST_WINDOW = 65_535
LAST_STREAM = 2**31 - 1
# A call whose client has not said all.
ASKING = {StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL}
# Why calls are reset that are their clients' fault.
FAULTS = {ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FLOW_CONTROL_ERROR, ErrorCodes.STREAM_CLOSED}
# Calls that are over are looked for once there are so many more than were left the last time.
SWEPT_CALLS = 16
# A frame's head: three bytes of length and one of kind, flags, its call.
HEAD = struct.Struct(">IBI")


class Wire(H2Connection):
    """The state of one connection.

    Args:
        resets: the calls that its client may have reset.
    """

    # Late frames of calls that are over are no fault; some are remembered for that.
    MAX_CLOSED_STREAMS = 4096

    def __init__(self, resets: Allowance) -> None:
        self._resets = resets
        self._sweep_at = SWEPT_CALLS
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,  # metadata.py does, for one call and not for all
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        bounds: Any = {
            # Past it h2 would end the connection, where one call is to be refused.
            SettingCodes.MAX_CONCURRENT_STREAMS: LAST_STREAM,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
            SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES,
        }
        self.encoder = cast(Any, HeaderEncoder())
        self.local_settings = Settings(client=False, initial_values=bounds)
        self.max_inbound_frame_size = FRAME_BYTES
        self.decoder = HeaderDecoder(HEADERS_BYTES)
        self.initiate_connection()
        self.clear_outbound_data_buffer()  # `greeting` is sent instead
        self.increment_flow_control_window(CONNECTION_BYTES - FIRST_WINDOW)

    @property
    def window(self) -> int:
        """Bytes that a new call's client may send before it is read."""
        return self.local_settings.initial_window_size

    def widen(self) -> None:
        """Let calls' clients send more before it is read, once this one knows."""
        self.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: FAR_WINDOW_BYTES})

    def receive_frame(self, frame: bytes) -> list[Event]:
        """As `receive_data`, of one whole frame; a call's bytes in it stay where they are.

        h2 copies them three times, and writes them out in hexadecimal for a log that it has not,
        and the headers that begin a call.
        Those of a call that was reset here may have been on their way: for h2 each is a fault.

        Raises:
            ProtocolError: it is not allowed.
            AbuseError: it has had too many calls reset.
        """
        kind, flags, number = frame[3], frame[4], int.from_bytes(frame[5:HEAD_BYTES])
        if self.incoming_buffer._headers_buffer:
            return self.receive_data(frame)
        if kind == HEADERS and flags | END_STREAM == END_HEADERS | END_STREAM:
            if self.highest_inbound_stream_id < number <= LAST_STREAM and number % 2:
                return self._opened(number, frame[HEAD_BYTES:], bool(flags & END_STREAM))
        elif kind == DATA:
            data = memoryview(frame)[HEAD_BYTES:]
            stream = self.streams.get(number)
            if stream is not None and stream.state_machine.state in ASKING:
                if not flags & PADDED:
                    self._take(data)
                    is_last = bool(flags & END_STREAM)
                    return stream.receive_data(cast(Any, data), is_last, len(data))[1]
            elif self._stream_closed_by(number) is StreamClosedBy.SEND_RST_STREAM:
                if flags & PADDED and (not data or data[0] >= len(data)):
                    raise ProtocolError("The frame's padding is longer than the frame.")
                self._take(data)
                return [DataReceived(stream_id=number, data=b"", flow_controlled_length=len(data))]
        return self.receive_data(frame)

    def _opened(self, number: int, block: bytes, is_whole: bool) -> list[Event]:
        """A new call, as h2 has one, but for a count of all that are open: that looks at each.

        findings/h2-counts-all-streams.sh
        """
        headers = _decode_headers(self.decoder, block)
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        if len(self.streams) >= self._sweep_at:
            self._open_streams(1)  # forgets those that are over
            self._sweep_at = 2 * len(self.streams) + SWEPT_CALLS
        stream = self._begin_new_stream(number, AllowedStreamIDs.ODD)
        return stream.receive_headers(headers, is_whole, None)[1]

    def _take(self, data: memoryview) -> None:
        self.state_machine.process_input(ConnectionInputs.RECV_DATA)
        self._inbound_flow_control_window_manager.window_consumed(len(data))

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        """To have calls reset costs a client as little as to reset them (CVE-2025-8671)."""
        for each in frames:
            if isinstance(each, RstStreamFrame) and each.error_code in FAULTS:
                self._resets.spend()
        super()._prepare_for_sending(frames)

    def room(self, stream: int) -> int:
        """Bytes that a frame of a call may have now.

        Raises:
            ProtocolError: the call is over.
        """
        window = self._get_stream_by_id(stream).outbound_flow_control_window
        return min(window, self.outbound_flow_control_window, self.max_outbound_frame_size)

    def put(self, stream: int, data: bytes) -> None:
        """As `send_data`, at a tenth of its cost: for what `room` has told, which is a call that
        goes on, so that no state changes."""
        size = len(data)
        self.streams[stream].outbound_flow_control_window -= size
        self.outbound_flow_control_window -= size
        self._data_to_send += HEAD.pack(size << 8 | DATA, 0, stream) + data

    def say(self, stream: int, fields: Fields, is_last: bool = False) -> None:
        """As `send_headers`, at a third of its cost: what it does besides is a client's.

        Raises:
            ProtocolError: the call is over.
        """
        block = self.encoder.encode(fields)
        if len(block) > self.max_outbound_frame_size or stream not in self.streams:
            self.send_headers(stream, fields, end_stream=is_last)
            return
        state = self.streams[stream].state_machine
        state.process_input(StreamInputs.SEND_HEADERS)
        if is_last:
            state.process_input(StreamInputs.SEND_END_STREAM)
        flags = END_HEADERS | END_STREAM if is_last else END_HEADERS
        self._data_to_send += HEAD.pack(len(block) << 8 | HEADERS, flags, stream) + block


def greeting(calls: int) -> bytes:
    """Our settings, of which the first is how many calls a client may have."""
    frame = SettingsFrame(0)
    frame.settings = {
        SettingsFrame.MAX_CONCURRENT_STREAMS: calls,
        SettingsFrame.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
        SettingsFrame.MAX_FRAME_SIZE: FRAME_BYTES,
        SettingsFrame.MAX_HEADER_LIST_SIZE: LIST_BYTES,
    }
    return frame.serialize()


def goaway(last_stream: int, code: ErrorCodes | int) -> bytes:
    """GOAWAY. After one of h2's the connection would be over, calls that run too."""
    return GoAwayFrame(0, last_stream_id=last_stream, error_code=int(code)).serialize()
