"""`h2` with our bounds, and the frames that it would not send as gRPC needs them."""

from __future__ import annotations

from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame, SettingsFrame

from .frames import FRAME_BYTES, HEADERS_BYTES
from .header_decoder import HeaderDecoder
from .header_encoder import HeaderEncoder
from .metadata import LIST_BYTES

# What a call's client may send before it is read.
WINDOW_BYTES = 128 * 1024
# Calls' windows bound what is held; the connection's is there to be large enough for all.
CONNECTION_BYTES = 16 * 1024 * 1024
FIRST_WINDOW = 65_535
LAST_STREAM = 2**31 - 1


class Wire(H2Connection):
    """The state of one connection."""

    # Late frames of calls that are over are no fault; some are remembered for that.
    MAX_CLOSED_STREAMS = 4096

    def __init__(self) -> None:
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

    def room(self, stream: int) -> int:
        """Bytes that a frame of a call may have now."""
        return min(self.local_flow_control_window(stream), self.max_outbound_frame_size)


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
