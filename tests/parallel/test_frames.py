"""Frames: what goes in comes out, however the bytes are cut."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_streaming.parallel.frames import (
    ALIGNMENT,
    LARGE_BYTES,
    STAGE_BYTES,
    FrameReader,
    encode,
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=10,
)


def wire(*frames: list[Any]) -> bytes:
    return b"".join(bytes(part) for frame in frames for part in encode(frame))


def read(data: bytes, sizes: list[int] | None = None) -> list[Any]:
    """Everything in some bytes that come in pieces of these sizes, then all at once."""
    reader, found, at = FrameReader(), [], 0
    left = list(sizes or [])
    while at < len(data):
        room = reader.room()
        size = min(len(room), left.pop(0) if left else len(data), len(data) - at)
        room[:size] = data[at : at + size]
        found += reader.received(size)
        at += size
    return found


@given(st.lists(st.lists(ANYTHING, max_size=3), max_size=5), st.lists(st.integers(1, 40)))
def test_what_goes_in_comes_out_however_it_is_cut(frames: list[list[Any]], sizes: list[int]):
    assert read(wire(*frames), sizes) == [message for frame in frames for message in frame]


def test_one_byte_at_a_time():
    frames = [["a", 1], [], [b"b" * 300, {"c": None}]]
    data = wire(*frames)
    assert read(data, [1] * len(data)) == [message for frame in frames for message in frame]


@pytest.mark.parametrize("elements", [1, LARGE_BYTES // 8, STAGE_BYTES // 8, 400_000])
def test_arrays_come_as_they_are_and_aligned(elements: int):
    array = np.arange(elements, dtype="<f8").reshape(1, -1)
    (name, found), after = read(wire([("text", array)], ["after"]))
    assert (name, after) == ("text", "after")
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    if array.nbytes >= LARGE_BYTES:
        assert found.ctypes.data % ALIGNMENT == 0
        assert found.flags.aligned


def test_what_follows_a_large_frame_is_read_too():
    large = np.zeros(STAGE_BYTES, np.uint8)
    data = wire([large], ["b"], [large], ["c", "d"])
    for sizes in ([], [1000] * 700):
        assert [m for m in read(data, sizes) if isinstance(m, str)] == ["b", "c", "d"]


def test_a_large_array_is_not_copied_into_the_pickle():
    large = np.zeros(1_000_000, np.float32)
    head, lengths, text, *rest = encode([("x", large)])
    assert len(head) + len(lengths) + len(text) < 1000
    assert np.shares_memory(np.frombuffer(rest[-1], np.uint8), large)


def test_arrays_in_strides_arrive_whole():
    strided = np.arange(100_000).reshape(100, 1000)[:, ::3]
    [found] = read(wire([strided]))
    np.testing.assert_array_equal(found, strided)


def test_arrays_outlive_the_frames_after_them():
    reader = FrameReader()
    kept = []
    for value in range(20):
        data = wire([np.full(LARGE_BYTES, value, np.uint8)])
        reader.room()[: len(data)] = data
        kept += reader.received(len(data))
    assert [array[0] for array in kept] == list(range(20))
