"""What a client of h2's reads of what is said to it."""

from __future__ import annotations

import h2.connection
import h2.events
import pytest
from h2.config import H2Configuration
from h2.exceptions import ProtocolError

from mlserver_streaming.rpc.http2.metadata import OPENING
from mlserver_streaming.rpc.http2.wire import Wire, greeting

CALL = [(":method", "POST"), (":scheme", "http"), (":path", "/s/Echo"), (":authority", "a")]


def opened(*, is_asked: bool) -> tuple[h2.connection.H2Connection, Wire]:
    """A client with one call, and its server."""
    client, wire = h2.connection.H2Connection(H2Configuration(header_encoding=None)), Wire()
    client.initiate_connection()
    client.receive_data(greeting(10))
    client.send_headers(1, CALL, end_stream=is_asked)
    wire.receive_data(client.data_to_send())
    client.receive_data(wire.data_to_send())
    return client, wire


@pytest.mark.parametrize("length", [1, 20_000, 100_000], ids=["one frame", "two", "seven"])
def test_an_opening_and_an_end(length: int) -> None:
    client, wire = opened(is_asked=True)
    last = [(b"grpc-status", b"0"), (b"x", b"y" * length)]
    wire.say(1, OPENING)
    assert wire.room(1) > 0
    wire.put(1, b"z")
    wire.say(1, last, is_last=True)
    client.decoder.max_header_list_size = 2 * length + 1000
    first, data, end, over = client.receive_data(wire.data_to_send())
    assert isinstance(first, h2.events.ResponseReceived) and first.headers == OPENING
    assert isinstance(data, h2.events.DataReceived)
    assert isinstance(end, h2.events.TrailersReceived) and end.headers == last
    assert isinstance(over, h2.events.StreamEnded)
    assert wire.open_inbound_streams == client.open_outbound_streams == 0


def test_nothing_is_said_after_the_end() -> None:
    client, wire = opened(is_asked=False)
    wire.say(1, OPENING, is_last=True)
    assert wire.open_inbound_streams == 1  # until its client has said everything
    with pytest.raises(ProtocolError):
        wire.say(1, OPENING)
    client.end_stream(1)
    wire.receive_data(client.data_to_send())
    assert wire.open_inbound_streams == 0
    with pytest.raises(ProtocolError):
        wire.say(1, OPENING)


def test_what_is_put_fills_the_window_as_the_client_counts_it() -> None:
    client, wire = opened(is_asked=True)
    wire.say(1, OPENING)
    while (room := wire.room(1)) > 0:
        wire.put(1, bytes(room))
    data = [
        each
        for each in client.receive_data(wire.data_to_send())
        if isinstance(each, h2.events.DataReceived)
    ]
    assert sum(each.flow_controlled_length for each in data) == 65_535
    client.acknowledge_received_data(65_535, 1)
    wire.receive_data(client.data_to_send())
    assert wire.room(1) == wire.max_outbound_frame_size
    wire.put(1, b"more")
    (more,) = client.receive_data(wire.data_to_send())
    assert isinstance(more, h2.events.DataReceived) and more.data == b"more"


def test_a_call_that_was_given_up_has_no_room() -> None:
    client, wire = opened(is_asked=True)
    wire.say(1, OPENING)
    client.reset_stream(1)
    wire.receive_data(client.data_to_send())
    assert not wire.open_inbound_streams  # h2 forgets what is over when it counts
    with pytest.raises(ProtocolError):
        wire.room(1)
