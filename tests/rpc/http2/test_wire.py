"""What a client of h2's reads of what is said to it."""

from __future__ import annotations

import h2.connection
import h2.events
import pytest
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from mlserver_streaming.rpc.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    WINDOW_UPDATE,
    AbuseError,
    Allowance,
)
from mlserver_streaming.rpc.http2.metadata import OPENING
from mlserver_streaming.rpc.http2.wire import SWEPT_CALLS, Wire, greeting
from tests.live.http2 import fields, frame

RESETS = 3
CALL = [(":method", "POST"), (":scheme", "http"), (":path", "/s/Echo"), (":authority", "a")]


def opened(*, is_asked: bool) -> tuple[h2.connection.H2Connection, Wire]:
    """A client with one call, and its server."""
    client = h2.connection.H2Connection(H2Configuration(header_encoding=None))
    wire = Wire(Allowance(RESETS, 0))
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


@pytest.mark.parametrize(
    "fault",
    [
        frame(DATA, 0, 1, b"x"),
        frame(DATA, END_STREAM, 1),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, fields({"x": "y"})),
        frame(WINDOW_UPDATE, 0, 1, (2**31 - 1).to_bytes(4)),
    ],
    ids=["data", "its end", "trailers", "a window that is too large"],
)
def test_calls_that_we_are_made_to_reset_are_counted(fault: bytes) -> None:
    client, wire = opened(is_asked=True)
    for stream in range(1, 2 * RESETS + 1, 2):
        (reset,) = wire.receive_frame(fault[:5] + stream.to_bytes(4) + fault[9:])
        assert isinstance(reset, h2.events.StreamReset) and not reset.remote_reset
        client.send_headers(stream + 2, CALL, end_stream=True)
        wire.receive_data(client.data_to_send())
    with pytest.raises(AbuseError):
        wire.receive_frame(fault[:5] + (2 * RESETS + 1).to_bytes(4) + fault[9:])


@pytest.mark.parametrize("code", [ErrorCodes.NO_ERROR, ErrorCodes.CANCEL])
@pytest.mark.parametrize("is_forgotten", [False, True])
def test_data_that_was_on_its_way_to_a_call_that_was_reset(
    code: ErrorCodes, is_forgotten: bool
) -> None:
    _, wire = opened(is_asked=False)
    wire.reset_stream(1, code)
    if is_forgotten:
        assert not wire.open_inbound_streams  # h2 forgets what is over when it counts
    wire.data_to_send()
    for _ in range(2 * RESETS):
        for late in (
            frame(DATA, 0, 1, b"x" * 9),
            frame(DATA, PADDED | END_STREAM, 1, b"\2xxxx\0\0"),
        ):
            (event,) = wire.receive_frame(late)
            assert isinstance(event, h2.events.DataReceived) and not event.data
            # What it took of the connection's window is to be given back.
            assert event.flow_controlled_length == len(late) - 9
    assert not wire.data_to_send()
    with pytest.raises(ProtocolError):
        wire.receive_frame(frame(DATA, PADDED, 1, b"\3xx"))


def call(client: h2.connection.H2Connection, number: int, is_asked: bool = True) -> bytes:
    client.send_headers(number, CALL, end_stream=is_asked)
    return client.data_to_send()


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_call_begins_as_h2_has_it(is_asked: bool) -> None:
    client, ours = opened(is_asked=True)
    other, theirs = opened(is_asked=True)
    [found] = ours.receive_frame(call(client, 3, is_asked))[:1]
    [expected] = theirs.receive_data(call(other, 3, is_asked))[:1]
    assert isinstance(found, h2.events.RequestReceived)
    assert isinstance(expected, h2.events.RequestReceived)
    assert (found.stream_id, found.headers) == (expected.stream_id, expected.headers)
    assert (found.stream_ended is not None) is is_asked
    assert ours.highest_inbound_stream_id == theirs.highest_inbound_stream_id == 3
    assert ours.streams[3].state_machine.state == theirs.streams[3].state_machine.state
    assert ours.open_inbound_streams == theirs.open_inbound_streams == 2


@pytest.mark.parametrize(
    "fault",
    [
        frame(HEADERS, END_HEADERS, 2, b""),
        frame(HEADERS, END_HEADERS, 0, b""),
        frame(HEADERS, END_HEADERS, 3, b"\xff\xff"),
        frame(HEADERS, END_HEADERS, 3, b"\x00\x07:status\x03103"),
        frame(HEADERS, END_HEADERS, 1, b""),
    ],
    ids=["even", "none", "no headers", "informational", "an old one"],
)
def test_what_begins_no_call_is_the_fault_that_it_is_for_h2(fault: bytes) -> None:
    errors = []
    for receive in ("receive_frame", "receive_data"):
        _, wire = opened(is_asked=True)
        wire.say(1, OPENING, is_last=True)
        with pytest.raises(ProtocolError) as error:
            getattr(wire, receive)(fault)
        errors.append(error.value.error_code)
    assert errors[0] == errors[1]


@pytest.mark.parametrize("are_over", [True, False])
def test_calls_that_are_over_are_forgotten(are_over: bool) -> None:
    _, wire = opened(is_asked=True)
    numbers = range(3, 6 * SWEPT_CALLS, 2)
    for number in numbers:
        flags = END_HEADERS | END_STREAM if are_over else END_HEADERS
        assert wire.receive_frame(frame(HEADERS, flags, number, fields(dict(CALL))))
        if are_over:
            wire.say(number, OPENING, is_last=True)
            assert len(wire.streams) <= SWEPT_CALLS + 2
    assert wire.open_inbound_streams == (1 if are_over else 1 + len(numbers))
