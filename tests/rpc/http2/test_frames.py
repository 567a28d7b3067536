"""Frames cut and bounded, with frames that do no harm."""

import pytest
from h2.errors import ErrorCodes

from mlserver_streaming.rpc.http2 import frames as bounds
from mlserver_streaming.rpc.http2.frames import (
    CONTINUATION,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    HEADERS_FRAMES,
    IDLE_FRAMES,
    PING,
    PREFACE,
    PRIORITY,
    RESETS,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    AbuseError,
    Allowance,
    Frames,
)
from tests.live.http2 import frame

BEGIN = PREFACE + frame(SETTINGS, 0, 0)


def begun() -> Frames:
    frames = Frames()
    frames.put(BEGIN)
    assert b"".join(frames) == BEGIN
    return frames


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_in_pieces(size: int) -> None:
    whole = BEGIN + frame(HEADERS, 4, 1, b"x") + frame(DATA, END_STREAM, 1, b"y" * 50)
    frames, found = Frames(), b""
    for at in range(0, len(whole), size):
        frames.put(whole[at : at + size])
        found += b"".join(frames)
    assert found == whole


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\n", PREFACE + frame(PING, 0, 0, bytes(8))])
def test_another_beginning(begin: bytes) -> None:
    frames = Frames()
    frames.put(begin)
    with pytest.raises(AbuseError):
        list(frames)
    assert not frames.has_begun


def test_a_client_that_leaves() -> None:
    frames = begun()
    ping = frame(PING, 0, 0, bytes(8))
    frames.put(frame(GOAWAY, 0, 0, bytes(8)) + ping)
    assert list(frames) == [ping]
    assert frames.peer_leaves


def test_a_client_that_leaves_a_call() -> None:
    frames = begun()
    frames.put(frame(GOAWAY, 0, 1, bytes(8)))
    with pytest.raises(AbuseError) as caught:
        list(frames)
    assert caught.value.code is ErrorCodes.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("flood", "most"),
    [
        (frame(RST_STREAM, 0, 1, bytes(4)), RESETS),
        (frame(PING, 0, 0, bytes(8)), IDLE_FRAMES),
        (frame(SETTINGS, 0, 0), IDLE_FRAMES),
        (frame(DATA, 0, 1), IDLE_FRAMES),
        (frame(PRIORITY, 0, 1, bytes(5)), IDLE_FRAMES),
        (frame(WINDOW_UPDATE, 0, 1, bytes(4)), IDLE_FRAMES),
        (frame(77, 0, 1), IDLE_FRAMES),
    ],
    ids=["resets", "pings", "settings", "empty data", "priorities", "windows", "unknown"],
)
def test_floods(monkeypatch: pytest.MonkeyPatch, flood: bytes, most: int) -> None:
    monkeypatch.setattr(bounds, "RESETS_A_SECOND", 0)
    monkeypatch.setattr(bounds, "IDLE_FRAMES_A_SECOND", 0)
    frames = begun()
    frames.put(flood * (most * 2))
    with pytest.raises(AbuseError) as caught:
        list(frames)
    assert caught.value.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_pings_of_a_client_that_is_answered_are_no_flood() -> None:
    frames = begun()
    for _ in range(5):
        frames.put(frame(PING, 0, 0, bytes(8)) * (IDLE_FRAMES - 1))
        list(frames)
        frames.idle.renew()


@pytest.mark.parametrize("payload", [b"", b"x" * 16_000], ids=["empty", "large"])
def test_headers_that_do_not_end(payload: bytes) -> None:
    frames = begun()
    frames.put(frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, payload) * HEADERS_FRAMES)
    with pytest.raises(AbuseError) as caught:
        list(frames)
    assert caught.value.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_a_frame_that_is_too_large() -> None:
    frames = begun()
    frames.put(b"\1\0\1" + bytes(6))
    with pytest.raises(AbuseError) as caught:
        list(frames)
    assert caught.value.code is ErrorCodes.FRAME_SIZE_ERROR


def test_an_allowance_comes_back_in_time() -> None:
    now = 0.0
    allowance = Allowance(2, 1, lambda: now)
    for _ in range(2):
        allowance.spend()
    with pytest.raises(AbuseError):
        allowance.spend()
    now = 10.0
    allowance.spend()
    allowance.spend()
