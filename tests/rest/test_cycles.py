"""Answers as they are written: the head with the first bytes, or by itself; nothing smuggled in."""

import asyncio

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from mlserver_streaming.rest.cycles import Cycle, RefusingCycle, UnframedCycle
from mlserver_streaming.streams.headers import lines_of


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self):
        super().__init__()
        self.written = []
        self.closed = False

    def write(self, data):
        self.written.append(bytes(data))

    def get_write_buffer_size(self):
        return 0

    def get_write_buffer_limits(self):
        return 0, 0

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def cycle(wire):
    return made(wire)


def made(wire, method="GET", keep_alive=True):
    cycle = Cycle(
        scope={"method": method},
        transport=wire,
        flow=FlowControl(wire),
        logger=None,
        access_logger=None,
        access_log=False,
        default_headers=[(b"server", b"us")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )
    return cycle


def start(*headers, status=200):
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data, more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


LENGTH_3 = (b"content-length", b"3")


async def test_head_and_body_are_one_write(cycle, wire):
    await cycle.send(start(LENGTH_3, (b"X-Name", b"value")))
    assert not wire.written and not cycle.response_started
    await cycle.send(body(b"abc"))
    await asyncio.sleep(0)
    assert wire.written == [
        b"HTTP/1.1 200 OK\r\nserver: us\r\ncontent-length: 3\r\nx-name: value\r\n\r\nabc"
    ]
    assert cycle.response_complete and not wire.closed


async def test_a_head_does_not_wait_for_a_body_that_is_not_there(cycle, wire):
    await cycle.send(start())
    await asyncio.sleep(0)
    assert [each.partition(b"\r\n")[0] for each in wire.written] == [b"HTTP/1.1 200 OK"]
    assert cycle.response_started
    await cycle.send(body(b"abc", more=True))
    await cycle.send(body(b"", more=True))
    await cycle.send(body(b""))
    assert wire.written[1:] == [b"3\r\nabc\r\n", b"0\r\n\r\n"]


async def test_a_piece_is_written_at_once_as_it_is_sent(cycle, wire):
    await cycle.send(start())
    assert not cycle.write(b"abc"), "not before the head"
    await cycle.send(body(b"abc", more=True))
    wire.written.clear()
    assert cycle.write(b"abc")
    await cycle.send(body(b"abc", more=True))
    assert wire.written == [b"3\r\nabc\r\n"] * 2
    cycle.flow.pause_writing()
    assert not cycle.write(b"abc"), "a client that does not read is waited for"
    cycle.flow.resume_writing()
    await cycle.send(body(b""))
    assert not cycle.write(b"abc"), "nothing follows the end"
    assert len(wire.written) == 3


@pytest.mark.parametrize(("method", "header"), [("HEAD", (b"x", b"y")), ("GET", LENGTH_3)])
async def test_no_piece_is_written_where_there_are_no_chunks(wire, method, header):
    cycle = made(wire, method)
    await cycle.send(start(header))
    await asyncio.sleep(0)
    assert cycle.response_started and not cycle.write(b"abc")


async def test_a_head_and_the_first_piece_are_written_at_once_as_they_are_sent(cycle, wire):
    assert cycle.begin([(b"content-type", b"text/plain")], b"abc")
    assert wire.written == [
        b"HTTP/1.1 200 OK\r\nserver: us\r\ncontent-type: text/plain\r\n"
        b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    ]
    assert cycle.status == 200 and cycle.response_started
    assert not cycle.begin([], b"abc")
    assert cycle.write(b"de")
    await cycle.send(body(b""))
    assert b"".join(wire.written[1:]) == b"2\r\nde\r\n0\r\n\r\n" and cycle.response_complete


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_a_head_that_is_written_already_is_the_one_that_its_fields_would_be(keep_alive):
    fields = [(b"content-type", b"text/plain")]
    wires = Wire(), Wire()
    for wire, lines in zip(wires, (None, lines_of(fields)), strict=True):
        assert made(wire, keep_alive=keep_alive).begin(fields, b"abc", lines)
    assert wires[0].written == wires[1].written


@pytest.mark.parametrize("piece", [b"", b"abc"])
async def test_the_last_piece_is_written_at_once_as_it_is_sent(piece):
    wires = [Wire(), Wire()]
    sent, finished = map(made, wires)
    for cycle in sent, finished:
        assert not cycle.write(piece, last=True), "not before the head"
        assert cycle.begin([], b"a")
    await sent.send(body(piece))
    finished.flow.pause_writing()
    assert not finished.write(piece, last=True), "a client that does not read is waited for"
    finished.flow.resume_writing()
    assert finished.write(piece, last=True)
    assert wires[0].written == wires[1].written
    assert finished.response_complete and not finished.write(piece, last=True)


async def test_nobody_is_told_of_an_end_whose_client_is_gone(cycle, wire):
    assert cycle.begin([], b"a")
    cycle.disconnected = True
    assert cycle.write(b"b", last=True)
    assert len(wire.written) == 1 and not cycle.response_complete


async def test_they_wait_where_one_must(wire):
    cycle = made(wire)
    cycle.flow.pause_writing()
    assert not cycle.begin([], b"abc")
    assert not made(wire, "HEAD").begin([], b"abc")
    old = made(wire)
    old.__class__ = UnframedCycle  # as the protocol does it
    assert not old.begin([], b"abc")
    assert not wire.written


async def test_who_waits_to_send_a_body_that_nobody_asked_for_is_answered_last(wire):
    cycle = made(wire)
    cycle.__class__ = RefusingCycle
    cycle.waiting_for_100_continue = True
    assert cycle.begin([], b"abc")
    assert b"connection: close\r\n" in wire.written[0]


async def test_nobody_is_told_of_a_stream_that_begins_when_its_client_is_gone(cycle, wire):
    cycle.disconnected = True
    assert cycle.begin([], b"abc")
    await cycle.send(body(b""))
    assert not wire.written and cycle.status == 200


async def test_who_fails_before_its_first_bytes_may_begin_anew(cycle, wire):
    await cycle.send(start(LENGTH_3))
    await cycle.send(start((b"content-length", b"4"), status=500))
    await cycle.send(body(b"oops"))
    [answer] = wire.written
    assert answer.startswith(b"HTTP/1.1 500 ") and answer.endswith(b"\r\n\r\noops")


async def test_head_has_no_body(wire):
    cycle = made(wire, "HEAD")
    await cycle.send(start(LENGTH_3))
    await cycle.send(body(b"abc"))
    [answer] = wire.written
    assert b"content-length: 3" in answer and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("closes", [b"close", b"Upgrade, Close"])
async def test_an_answer_may_end_its_connection(cycle, wire, closes):
    await cycle.send(start(LENGTH_3, (b"connection", closes)))
    await cycle.send(body(b"abc"))
    assert wire.closed and wire.written[0].count(b"connection:") == 1


async def test_a_connection_that_ends_says_so(wire):
    cycle = made(wire, keep_alive=False)
    await cycle.send(start(LENGTH_3))
    await cycle.send(body(b"abc"))
    assert wire.closed and b"\r\nconnection: close\r\n" in wire.written[0]


@pytest.mark.parametrize(
    "header", [(b"a b", b"c"), (b"", b"c"), (b"a:", b"c"), (b"a", b"b\r\nc: d"), (b"a", b"\x00")]
)
async def test_what_would_begin_another_field_is_not_sent(cycle, wire, header):
    with pytest.raises(RuntimeError, match="cannot be sent"):
        await cycle.send(start(header))
    assert not wire.written


@pytest.mark.parametrize("data", [b"ab", b"abcd"])
async def test_a_body_has_the_length_that_was_said(cycle, data):
    await cycle.send(start(LENGTH_3))
    with pytest.raises(RuntimeError, match="Content-Length"):
        await cycle.send(body(data))


async def test_nothing_follows_the_end(cycle):
    await cycle.send(start(LENGTH_3))
    await cycle.send(body(b"abc"))
    for message in (body(b"d"), start()):
        with pytest.raises(RuntimeError, match="cannot come now"):
            await cycle.send(message)


async def test_a_hang_up_is_told_once_and_nothing_more_is_written(cycle, wire):
    told = []
    cycle.on_hang_up = lambda: told.append(True)
    cycle.disconnected = True
    await cycle.send(start(LENGTH_3))
    await cycle.send(body(b"abc"))
    await asyncio.sleep(0)
    assert told == [True] and not wire.written


async def test_a_body_that_is_here_is_taken_at_once(cycle, wire):
    assert cycle.take_body() is None
    cycle.body, cycle.more_body = bytearray(b"abc"), False
    assert cycle.take_body() == b"abc"


async def test_json_at_once_is_the_answer_that_its_headers_would_be(wire):
    fields, text = [(b"ce-id", b"7"), (b"ce-type", b"t")], b'{"a":1}'
    assert made(wire).answer_json(lines_of(fields), text)
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
    assert made(wire).answer([*fields, *own], text)
    assert wire.written[0] == wire.written[1]


async def test_json_at_once_leaves_other_answers_to_others(wire):
    ends, paused, begun, waits = made(wire, keep_alive=False), made(wire), made(wire), made(wire)
    framed = made(wire)
    paused.flow.pause_writing()
    begun.response_started = waits.waiting_for_100_continue = True
    framed.default_headers = [(b"Transfer-Encoding", b"chunked")]
    for cycle in (ends, paused, begun, waits, framed):
        assert not cycle.answer_json(b"", b"{}")
    assert wire.written == []
    gone = made(wire)
    gone.disconnected = True
    assert gone.answer_json(b"", b"{}"), "there is nobody to send it to"
    assert wire.written == []
