"""Base64 of samples in four formats."""

import base64
import os

import numpy as np
import pytest

from mlserver_streaming.openai.errors import FieldError
from mlserver_streaming.openai.realtime.sound import (
    A_LAW,
    MU_LAW,
    PCM_16,
    PCM_24,
    STEP_CHARACTERS,
    Reader,
    decoded,
)
from mlserver_streaming.tensors.steps import finish


@pytest.mark.parametrize("size", [0, 1, 2, 3, 48_000, 3 * STEP_CHARACTERS // 4, STEP_CHARACTERS])
def test_bytes_come_back_whole(size):
    data = os.urandom(size)
    assert finish(decoded(base64.b64encode(data).decode())) == data


def test_a_lot_of_it_takes_turns():
    steps = sum(1 for _ in decoded("A" * STEP_CHARACTERS * 4))
    assert steps == 3


def repr_short(text):
    return ascii(text[-10:])


GOOD = "A" * STEP_CHARACTERS


BAD = ("A", "AA", "AAA", "A===", "AA AA", "AAAA\n", "-_AA", "äAAA", "AA==AA==", "\ud800AAA")


@pytest.mark.parametrize(
    "text", [*BAD, GOOD + "A", GOOD[:-1] + "=" + GOOD, GOOD + "=", "=" + GOOD], ids=repr_short
)
def test_what_is_no_base64_is_one_sentence(text):
    with pytest.raises(FieldError, match=r"^'audio' must be base64 \(RFC 4648\): .*\.$") as raised:
        finish(decoded(text))
    assert raised.value.param == "audio"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_sample_cut_in_two_is_whole_again(size):
    samples = np.arange(-500, 500, dtype="<i2")
    data, reader = samples.tobytes(), Reader(PCM_24)
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    found = [each for part in parts for each in reader.read(part)]
    np.testing.assert_array_equal(np.concatenate(found), samples)


@pytest.mark.parametrize("format", [PCM_24, PCM_16, MU_LAW, A_LAW])
def test_a_request_holds_four_seconds_at_most(format):
    seconds = 9
    found = list(Reader(format).read(bytes(seconds * format.rate * format.width)))
    assert [len(each) / format.rate for each in found] == [4, 4, 1]
    assert {each.dtype for each in found} == {np.dtype(np.int16)}
