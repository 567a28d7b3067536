"""What hpack's own reader makes of our headers."""

import pytest
from hpack import Decoder

from mlserver_streaming.rpc.http2.header_encoder import HeaderEncoder
from mlserver_streaming.rpc.http2.metadata import OPENING


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 256, 5000])
def test_round(length: int) -> None:
    headers = [*OPENING, (b":status", b"415"), (b"x" * max(1, length), b"y" * length)]
    decoder = Decoder()
    for _ in range(2):
        assert list(decoder.decode(HeaderEncoder().encode(headers), raw=True)) == headers
