"""Bodies of many requests, cut wherever the network cuts them: lines, parts, gzip."""

import gzip
import zlib

import pytest

from mlserver_streaming.errors import BadRequestError, TooLargeError
from mlserver_streaming.rest.request_stream.asked import Asked
from mlserver_streaming.rest.request_stream.coming import splitter_for
from mlserver_streaming.rest.request_stream.inflating import Inflating
from mlserver_streaming.rest.request_stream.lines import Lines
from mlserver_streaming.rest.request_stream.parts import MOST_FIELDS, Parts

MIXED = "multipart/x-mixed-replace; boundary=frame"
FORM = 'multipart/form-data; boundary="frame"'
JPEG = b"\xff\xd8\r\n--fram\r\n-\xff\xd9"
JSON = b"Content-Type: application/json"


def part(content, *headers, end=b"\r\n"):
    return b"\r\n".join([b"--frame", *headers, b"", content]) + end


def field(name, content, *headers):
    return part(content, b'Content-Disposition: form-data; name="%b"' % name, *headers)


def cut(splitter, *pieces):
    """The requests in a body, by the piece that completes them; of its end the last."""
    return [*([*splitter.feed(piece)] for piece in pieces), [*splitter.end()]]


def whole(splitter, *pieces):
    return [asked for some in cut(splitter, *pieces) for asked in some]


def splits(body):
    """A body in one piece, in all of two, and a byte at a time."""
    yield [body]
    yield from ([body[:at], body[at:]] for at in range(1, len(body)))
    yield [body[at : at + 1] for at in range(len(body))]


@pytest.mark.parametrize(
    ("kind", "cutter"),
    [
        ("application/x-ndjson", Lines),
        ("application/NDJSON; charset=utf-8", Lines),
        ("application/jsonl", Lines),
        (MIXED, Parts),
        (FORM, Parts),
        ("application/json", type(None)),
        ("text/plain", type(None)),
    ],
)
def test_which_bodies_hold_several(kind, cutter):
    made = splitter_for(kind)
    assert isinstance(made and made(10), cutter)


def test_lines():
    body = b'{"a": 1}\r\n\n  \r\n\xc3\xa9\n\n{"b"'
    for pieces in splits(body):
        assert whole(Lines(100), *pieces) == [
            Asked(b'{"a": 1}\r'),
            Asked(b"\xc3\xa9"),
            Asked(b'{"b"'),
        ]


def test_a_line_is_there_with_its_end():
    assert cut(Lines(100), b"one\ntw", b"o\n") == [[Asked(b"one")], [Asked(b"two")], []]


@pytest.mark.parametrize("pieces", [[b"12345\n"], [b"123", b"45"], [b"a\n12345\nb\n"]])
def test_a_line_that_is_too_long(pieces):
    with pytest.raises(TooLargeError, match="A line of the body is larger than 4 bytes"):
        whole(Lines(4), *pieces)


def test_lines_before_a_long_one_count():
    feed = Lines(4).feed(b"ab\ncd\n12345\n")
    assert [next(feed), next(feed)] == [Asked(b"ab"), Asked(b"cd")]


@pytest.mark.parametrize("length", [(), (b"Content-Length: %d" % len(JPEG),)])
def test_pictures_as_a_camera_sends_them(length):
    picture = part(JPEG, b"Content-Type: image/jpeg", *length)
    body = picture + picture + b"--frame--\r\n"
    for pieces in splits(body):
        assert whole(Parts(MIXED, 100), *pieces) == [Asked(JPEG, is_json=False)] * 2


def test_a_picture_that_says_its_length_waits_for_nothing():
    head = b"\r\n--frame\r\nContent-Length: 3\r\n\r\n"
    found = cut(Parts(MIXED, 100), head + b"ab", b"c", b"\r\n--frame--")
    assert found == [[], [Asked(b"abc", False)], [], []]


def test_a_boundary_that_is_named_with_its_dashes():
    body = part(b"x") + b"--frame--"
    assert whole(Parts("multipart/x-mixed-replace;boundary=--frame", 9), body) == [
        Asked(b"x", False)
    ]


def test_fields_are_parameters_of_what_follows():
    body = b"".join(
        [
            part(b"0", b"Content-Type: image/png"),
            field(b"id", b"first"),
            field(b"sequence_start", b"true"),
            field(b"quality", b"20"),
            field(b"name", b"caf\xc3\xa9", b"Content-Type: text/plain; charset=utf-8"),
            field(b"list", b"[1]"),
            part(b"{}", JSON),
            field(b"quality", b"0.5"),
            field(b"text", b"a", b'Content-Disposition: form-data; name="f"; filename="a.txt"'),
            b"--frame--",
        ]
    )
    known = {"quality": 20, "name": "café", "list": "[1]"}
    for pieces in splits(body):
        assert whole(Parts(FORM, 100), *pieces) == [
            Asked(b"0", False),
            Asked(b"{}", True, known | {"id": "first", "sequence_start": True}),
            Asked(b"a", False, known | {"quality": 0.5}),
        ]


@pytest.mark.parametrize(
    ("kind", "body", "error", "message"),
    [
        ("multipart/form-data", b"", BadRequestError, "must say its 'boundary'"),
        (MIXED + "x" * 70, b"", BadRequestError, "must say its 'boundary'"),
        (MIXED, b"", BadRequestError, "cut off"),
        (MIXED, part(b"x"), BadRequestError, "cut off"),
        (MIXED, b"no part at all", BadRequestError, "cannot be read"),
        (MIXED, part(b"x", b"no header"), BadRequestError, "cannot be read"),
        (MIXED, part(b"x", b"Content-Length: x"), BadRequestError, "must be a number"),
        (MIXED, part(b"xy", b"Content-Length: 1"), BadRequestError, "longer than its"),
        (MIXED, part(b"x" * 11), TooLargeError, "larger than 10 bytes"),
        (MIXED, part(b"", b"Content-Length: 11"), TooLargeError, "larger than 10 bytes"),
        (FORM, field(b"x", b"\xff"), BadRequestError, "not UTF-8"),
        (
            FORM,
            b"".join(field(b"f%d" % n, b"1") for n in range(MOST_FIELDS + 1)),
            TooLargeError,
            "more than 100 fields",
        ),
    ],
)
def test_multipart_that_cannot_be_read(kind, body, error, message):
    with pytest.raises(error, match=message):
        whole(Parts(kind, 10), body + b"--frame\r\n" * bool(body))


def test_parts_before_a_fault_count():
    feed = Parts(MIXED, 10).feed(part(b"x") + part(b"y" * 11))
    assert next(feed) == Asked(b"x", False)
    with pytest.raises(TooLargeError):
        next(feed)


def inflated(coding, *pieces):
    inflating = Inflating(coding)
    found = b"".join(plain for piece in pieces for plain in inflating.feed(piece))
    inflating.end()
    return found


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (
            "gzip",
            gzip.compress(b"one ", mtime=0)
            + gzip.compress(b"", mtime=0)
            + gzip.compress(b"two", mtime=0),
        ),
        ("deflate", zlib.compress(b"one two")),
    ],
)
def test_compressed_bodies(coding, body):
    for pieces in splits(body):
        assert inflated(coding, *pieces) == b"one two"


def test_what_is_flushed_is_there():
    packing = zlib.compressobj(wbits=31)
    inflating = Inflating("gzip")
    for text in (b"one\n", b"two\n"):
        sent = packing.compress(text) + packing.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(inflating.feed(sent)) == text


def test_a_bomb_comes_in_pieces_of_a_bounded_size():
    pieces = [*Inflating("gzip").feed(gzip.compress(bytes(5_000_000)))]
    assert sum(map(len, pieces)) == 5_000_000
    assert max(map(len, pieces)) <= 256 * 1024


@pytest.mark.parametrize(
    ("coding", "body", "message"),
    [
        ("gzip", b"plain text", "not valid gzip"),
        ("gzip", gzip.compress(b"x" * 100, mtime=0)[:-4], "cut off"),
        ("gzip", gzip.compress(b"x", mtime=0) + b"more", "not valid gzip"),
        ("deflate", zlib.compress(b"x") + b"more", "goes on after the end"),
    ],
)
def test_compression_that_cannot_be_undone(coding, body, message):
    with pytest.raises(BadRequestError, match=message):
        inflated(coding, body)


@pytest.mark.parametrize("splitter", [Lines(100), Parts(MIXED, 100)], ids=["lines", "parts"])
def test_what_is_held_of_a_request_that_is_not_whole(splitter):
    begun = b"" if isinstance(splitter, Lines) else b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"
    assert list(splitter.feed(begun + b"x" * 50)) == []
    assert splitter.held == 50
    splitter.clear()
    assert splitter.held == 0


def test_a_form_holds_its_fields_too():
    splitter = Parts("multipart/form-data; boundary=b", 1000)
    field = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
    begun = field % b"one" + b"x" * 50 + b"\r\n" + field % b"two" + b"7\r\n" + field % b"three"
    assert list(splitter.feed(begun + b"x" * 30)) == []
    assert splitter.held == 80
    splitter.clear()
    assert splitter.held == 0
