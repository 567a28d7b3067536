"""A call's headers, in and out."""

import grpc
import pytest

from mlserver_streaming.rpc.http2.metadata import (
    LIST_BYTES,
    BadCallError,
    MalformedError,
    NoCallError,
    encode,
    read,
    trailers,
)
from mlserver_streaming.rpc.http2.peer import named

CALL = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": b"/service/Method",
    b":authority": b"localhost",
    b"te": b"trailers",
    b"content-type": b"application/grpc+proto",
}


def fields(**others: str) -> list[tuple[bytes, bytes]]:
    more = {name.replace("_", "-").encode(): value.encode() for name, value in others.items()}
    return [*CALL.items(), *more.items()]


def test_what_handlers_hear() -> None:
    asked = read(fields(user_agent="x", x_bin="AAE,Ag", grpc_encoding="gzip", grpc_timeout="250m"))
    assert asked.method == "/service/Method"
    assert asked.metadata == (("user-agent", "x"), ("x-bin", b"\0\1"), ("x-bin", b"\2"))
    assert (asked.encoding, asked.timeout) == ("gzip", 0.25)


@pytest.mark.parametrize(
    ("value", "seconds"), [("2H", 7200), ("1M", 60), ("3S", 3), ("5u", 5e-6), ("7n", 7e-9)]
)
def test_timeouts(value: str, seconds: float) -> None:
    assert read(fields(grpc_timeout=value)).timeout == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "5", "S", "-1S", "123456789S", "1.5S", "1s"])
def test_a_timeout_that_is_none(value: str) -> None:
    with pytest.raises(BadCallError) as caught:
        read(fields(grpc_timeout=value))
    assert caught.value.code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({b":method": b"GET"}, 405),
        ({b"content-type": b"application/json"}, 415),
        ({b"content-type": b"application/grpc-web"}, 415),
        ({b"content-type": b""}, 415),
    ],
    ids=str,
)
def test_what_is_no_call(change: dict[bytes, bytes], status: int) -> None:
    with pytest.raises(NoCallError) as caught:
        read((CALL | change).items())
    assert caught.value.status == status


@pytest.mark.parametrize(
    "change",
    [
        {b":path": b"*"},
        {b":path": b""},
        {b":status": b"200"},
        {b"Upper": b"x"},
        {b"with space": b"x"},
        {b"connection": b"close"},
        {b"te": b"gzip"},
        {b":late": b"z"},
    ],
    ids=str,
)
def test_what_is_no_request(change: dict[bytes, bytes]) -> None:
    with pytest.raises(MalformedError):
        read((CALL | change).items())


@pytest.mark.parametrize("name", [b":method", b":scheme", b":path"])
def test_a_header_of_http_2_that_lacks_or_comes_twice_or_late(name: bytes) -> None:
    others = [field for field in CALL.items() if field[0] != name]
    own = (name, CALL[name])
    for found in (others, [own, own, *others], [*others, own]):
        with pytest.raises(MalformedError):
            read(found)


def test_metadata_that_is_no_base64() -> None:
    with pytest.raises(BadCallError, match="x-bin is no base64"):
        read(fields(x_bin="!"))


def test_too_much_metadata() -> None:
    with pytest.raises(BadCallError) as caught:
        read(fields(x="y" * LIST_BYTES))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_end_of_a_call() -> None:
    found = trailers(grpc.StatusCode.NOT_FOUND, "50% é\n", (("X-Id", "a\r\nb"), ("b-bin", b"\0")))
    assert found == [
        (b"grpc-status", b"5"),
        (b"grpc-message", b"50%25 %C3%A9%0A"),
        (b"x-id", b"a??b"),
        (b"b-bin", b"AA"),
    ]
    assert encode((("b-bin", b"\xff" * 3),)) == [(b"b-bin", b"////")]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 5), "ipv4:127.0.0.1:5"),
        (("::1", 5, 0, 0), "ipv6:%5B::1%5D:5"),
        (("::ffff:10.0.0.1", 5, 0, 0), "ipv4:10.0.0.1:5"),
        ("", "unix:"),
    ],
)
def test_addresses_as_grpc_has_them(address: object, name: str) -> None:
    assert named(address) == name
