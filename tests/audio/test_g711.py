"""The telephone's samples, against FFmpeg's decoders of them."""

import av
import numpy as np
import pytest

from mlserver_streaming.audio.g711 import RATE, from_a_law, from_mu_law


@pytest.mark.parametrize(("ours", "codec"), [(from_mu_law, "pcm_mulaw"), (from_a_law, "pcm_alaw")])
def test_every_code_is_the_sample_that_ffmpeg_makes_of_it(ours, codec):
    codes = bytes(range(256))
    decoder = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = RATE, "mono"
    (frame,) = decoder.decode(av.Packet(codes))
    assert frame.format.name.startswith("s16")
    np.testing.assert_array_equal(ours(codes), frame.to_ndarray().reshape(-1))


@pytest.mark.parametrize("ours", [from_mu_law, from_a_law])
def test_nothing_is_no_samples(ours):
    assert ours(b"").shape == (0,)
    assert ours(b"").dtype == np.int16
