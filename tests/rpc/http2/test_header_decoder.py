"""Headers that were read once, and a client's table that changes between."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import OversizedHeaderListError

from mlserver_streaming.rpc.http2.header_decoder import REMEMBERED, HeaderDecoder

LIMIT = 64 * 1024
CALL = [(b":method", b"POST"), (b":path", b"/s/Echo"), (b"te", b"trailers"), (b"x", b"y")]


def test_the_same_headers_are_read_once() -> None:
    encoder, decoder = Encoder(), HeaderDecoder(LIMIT)
    blocks = [encoder.encode(CALL) for _ in range(4)]
    found = [decoder.decode(block, raw=True) for block in blocks]
    assert blocks[1] == blocks[3] != blocks[0]
    assert found == [CALL] * 4
    assert found[1] is found[3]


@pytest.mark.parametrize("table", [0, 64, 200, 4096])
def test_as_one_that_remembers_nothing(table: int) -> None:
    """Bytes that mean something else each time, since the table changes and what it holds goes."""
    encoder, decoder, plain = Encoder(), HeaderDecoder(LIMIT), Decoder(LIMIT)
    encoder.header_table_size = table
    for number in range(4 * REMEMBERED):
        headers = [*CALL, (b"grpc-timeout", b"%dm" % (number // 3)), (b"z" * (number % 7), b"")]
        for block in (encoder.encode(headers), b"\x88", b"\xbe" if table == 4096 else b""):
            assert decoder.decode(block, raw=True) == plain.decode(block, raw=True)
        if number == 2 * REMEMBERED:
            encoder.header_table_size = table // 2


def test_too_many_are_refused_each_time() -> None:
    decoder = HeaderDecoder(LIMIT)
    decoder.decode(b"\x40\1x\x7f\xa1\x1e" + b"y" * 4000, raw=True)
    for _ in range(2):
        with pytest.raises(OversizedHeaderListError):
            decoder.decode(b"\xbe" * 400, raw=True)


def test_a_length_of_http_is_not_heard() -> None:
    block = Encoder().encode([*CALL, (b"content-length", b"many")])
    assert HeaderDecoder(LIMIT).decode(block, raw=True) == CALL
