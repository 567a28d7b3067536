"""Messages cut from bytes, whatever the pieces they come in."""

import gzip
import zlib
from collections.abc import Callable

import grpc
import pytest

from mlserver_streaming.rpc.http2.messages import Inbox, framed
from mlserver_streaming.rpc.http2.metadata import BadCallError
from mlserver_streaming.tensors.steps import finish

LIMIT = 1 << 20


def packed(data: bytes) -> bytes:
    return b"\1" + len(data).to_bytes(4) + data


def taken(inbox: Inbox) -> bytes | None:
    found = inbox.take()
    return found if found is None or isinstance(found, bytes) else finish(found)


@pytest.mark.parametrize("size", [1, 3, 1000, 10**6])
def test_in_pieces(size: int) -> None:
    messages = [b"", b"a", b"b" * 300, b"c" * 50_000]
    whole = b"".join(framed(messages))
    inbox, found = Inbox(LIMIT, "identity"), []
    for at in range(0, len(whole), size):
        inbox.put(whole[at : at + size])
        while (message := taken(inbox)) is not None:
            found.append(message)
    assert found == messages
    assert inbox.is_empty and inbox.held == 0


def test_a_half_is_not_empty() -> None:
    inbox = Inbox(LIMIT, "identity")
    inbox.put(b"\0\0\0\0\2a")
    assert taken(inbox) is None
    assert not inbox.is_empty


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_packed(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    message = bytes(range(256)) * 3000  # more than a step takes
    inbox = Inbox(LIMIT, encoding)
    inbox.put(packed(pack(message)) + b"".join(framed([b"plain"])))
    assert [taken(inbox), taken(inbox)] == [message, b"plain"]


def code_of(inbox: Inbox) -> grpc.StatusCode:
    with pytest.raises(BadCallError) as caught:
        taken(inbox)
    return caught.value.code


def test_one_that_is_too_large_is_refused_before_it_comes() -> None:
    inbox = Inbox(LIMIT, "identity")
    inbox.put(b"\0" + (LIMIT + 1).to_bytes(4))
    assert code_of(inbox) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_one_that_is_too_large_unpacked() -> None:
    inbox = Inbox(LIMIT, "gzip")
    inbox.put(packed(gzip.compress(bytes(5 * LIMIT))))
    assert code_of(inbox) is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("identity", packed(b"abc")),
        ("gzip", packed(b"abc")),
        ("gzip", packed(gzip.compress(b"abc")[:-9])),
        ("gzip", packed(b"")),
        ("gzip", packed(gzip.compress(b"abc") + b"def")),
        ("gzip", packed(gzip.compress(b"abc") + gzip.compress(b"def"))),
        ("deflate", packed(zlib.compress(bytes(300_000)) + b"def")),
        ("identity", b"\2\0\0\0\0"),
    ],
    ids=[
        "unnamed",
        "not packed",
        "half",
        "nothing",
        "more",
        "two",
        "more of a large one",
        "unknown flag",
    ],
)
def test_what_is_no_message(encoding: str, data: bytes) -> None:
    inbox = Inbox(LIMIT, encoding)
    inbox.put(data)
    assert code_of(inbox) is grpc.StatusCode.INTERNAL


def test_more_than_a_packing_in_pieces() -> None:
    whole = packed(gzip.compress(b"abc") + b"def")
    inbox = Inbox(LIMIT, "gzip")
    for at in range(0, len(whole), 600):
        inbox.put(whole[at : at + 600])
    inbox.put(b"")
    assert code_of(inbox) is grpc.StatusCode.INTERNAL


def test_what_a_packed_message_may_become() -> None:
    inbox = Inbox(LIMIT, "gzip")
    inbox.put(
        packed(gzip.compress(bytes(100_000)))
        + packed(gzip.compress(bytes(LIMIT)))
        + b"".join(framed([b"x"]))
    )
    for size in (100_000, LIMIT):
        message = taken(inbox)
        assert message is not None and len(message) == size <= inbox.swelling <= LIMIT
    taken(inbox)
    assert not inbox.swelling
