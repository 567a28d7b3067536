"""What a shared store gives back is checked before it is believed."""

from __future__ import annotations

import hashlib
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_streaming.cache import envelope
from mlserver_streaming.cache.envelope import seal, unseal
from mlserver_streaming.recordings.recording import Chunk, MalformedError, Recording

KEY = b"mlserver-streaming:a"
SECRET = b"sixteen characters"
LIMIT = 100_000


def of(*heads: bytes, tensors: tuple[bytes, ...] = ()) -> Recording:
    return Recording([Chunk(head, tensors) for head in heads])


def bytes_of(recording: Recording) -> list[tuple[bytes, ...]]:
    return [(bytes(each.head), *map(bytes, each.tensors)) for each in recording.chunks]


@pytest.mark.parametrize("compress_bytes", [None, 1, 10_000])
@pytest.mark.parametrize("tensors", [(), (b"",), (b"a" * 500, b"b"), (os.urandom(5000),) * 3])
@pytest.mark.parametrize("heads", [(), (b"",), (b"a" * 500, b"b"), (os.urandom(5000),) * 3])
def test_what_was_sealed_is_unsealed(
    heads: tuple[bytes, ...], tensors: tuple[bytes, ...], compress_bytes: int | None
):
    recording = of(*heads, tensors=tensors)
    sealed = seal(KEY, recording, compress_bytes)
    assert bytes_of(unseal(KEY, sealed, LIMIT)) == bytes_of(recording)


def test_what_shrinks_is_compressed_and_what_does_not_is_not():
    words, noise = b"What is the capital of France? " * 500, os.urandom(15_000)
    assert len(seal(KEY, of(words), 4096)) < len(words) / 10
    assert len(seal(KEY, of(words), None)) > len(words)
    assert noise in seal(KEY, of(noise), 4096)


@given(st.data())
def test_what_is_cut_short_or_changed_is_refused(data: st.DataObject):
    chunks = [b"What is the capital? " * 20, b"second"]
    whole = seal(KEY, of(*chunks), data.draw(st.sampled_from([None, 1])))
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.binary(min_size=1, max_size=3))
    for changed in (whole[:at], whole[:at] + other + whole[at + len(other) :], whole + other):
        if changed != whole:
            with pytest.raises(MalformedError):
                unseal(KEY, changed, LIMIT)


def test_another_key_s_value_is_refused():
    with pytest.raises(MalformedError, match="another key or secret"):
        unseal(b"mlserver-streaming:b", seal(KEY, of(b"a"), None), LIMIT)


@pytest.mark.parametrize("value", [b"", b"MSC1", b"OK", bytes(range(1, 250)), b"MSC9" + bytes(100)])
def test_another_program_s_value_is_refused(value: bytes):
    with pytest.raises(MalformedError):
        unseal(KEY, value, LIMIT)


def forged(payload: bytes, form: bytes = envelope.PLAIN) -> bytes:
    """A value by one who knows the format."""
    return envelope.MAGIC + form + envelope._seal_of(b"", KEY, form, payload) + payload


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\1\0",
        b"\xff\xff\xff\xff",
        b"\1\0\0\0\xff\xff\xff\xff",
        b"\1\0\0\0\xff\xff\xff\xff\1\0\0\0a",
        b"\1\0\0\0\0\0\0\0\xff\xff\xff\xff",
        b"\2\0\0\0\0\0\0\0\1\0\0\0a",
        b"\1\0\0\0\0\0\0\0\1\0\0\0ab",
    ],
)
def test_a_forged_value_of_another_shape_is_refused(payload: bytes):
    with pytest.raises(MalformedError):
        unseal(KEY, forged(payload), LIMIT)


def test_a_bomb_is_not_unpacked():
    bomb = zlib.compress(bytes(500_000_000), 9)
    assert len(bomb) < 1_000_000
    with pytest.raises(MalformedError, match="too large"):
        unseal(KEY, forged(bomb, envelope.COMPRESSED), LIMIT)
    with pytest.raises(MalformedError, match="too large"):
        unseal(KEY, forged(bytes(LIMIT + 1)), LIMIT)


def test_what_is_not_compressed_though_it_says_so_is_refused():
    with pytest.raises(MalformedError):
        unseal(KEY, forged(b"not zlib", envelope.COMPRESSED), LIMIT)
    short = zlib.compress(b"a" * 5000)[:-4]
    with pytest.raises(MalformedError):
        unseal(KEY, forged(short, envelope.COMPRESSED), LIMIT)


def test_a_value_is_believed_by_those_who_know_its_secret_only():
    sealed = seal(KEY, of(b"a"), None, SECRET)
    assert bytes_of(unseal(KEY, sealed, LIMIT, SECRET)) == [(b"a",)]
    for secret in (b"", b"another secret of mine", SECRET + b"x"):
        with pytest.raises(MalformedError, match="secret"):
            unseal(KEY, sealed, LIMIT, secret)
    for other in (seal(KEY, of(b"a"), None), seal(KEY, of(b"a"), None, b"another secret of mine")):
        with pytest.raises(MalformedError, match="secret"):
            unseal(KEY, other, LIMIT, SECRET)


def test_a_sealed_value_is_of_its_key_form_and_bytes_alone():
    sealed = seal(KEY, of(b"a" * 500), 1, SECRET)
    assert sealed[4:5] == envelope.COMPRESSED
    plain = sealed[:4] + envelope.PLAIN + sealed[5:]
    with pytest.raises(MalformedError, match="another key"):
        unseal(KEY + b"b", sealed, LIMIT, SECRET)
    for changed in (plain, sealed[:-1], sealed[:-1] + b"\0", sealed + b"\0"):
        with pytest.raises(MalformedError, match="cut short"):
            unseal(KEY, changed, LIMIT, SECRET)


def test_nothing_is_unpacked_before_its_seal_is_known(monkeypatch: pytest.MonkeyPatch):
    sealed = seal(KEY, of(b"a" * 500), 1)
    monkeypatch.delattr(envelope, "_inflated")
    with pytest.raises(MalformedError):
        unseal(KEY, sealed, LIMIT, SECRET)


def test_a_value_of_the_format_before_is_refused():
    payload = seal(KEY, of(b"a"), None)[envelope.HEAD_BYTES :]
    old = hashlib.sha256(b"%d:%b\0" % (len(KEY), KEY) + payload).digest()[:16]
    with pytest.raises(MalformedError, match="not of this program"):
        unseal(KEY, b"MSC1\0" + old + payload, LIMIT)
