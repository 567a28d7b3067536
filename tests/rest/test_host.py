"""Which Host headers are addresses."""

import pytest

from mlserver_streaming.rest.host import is_host


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"localhost",
        b"a_b.c-d:80",
        b"10.0.0.1:65535",
        b"[::1]",
        b"[fe80::1]:8080",
        b"a:",
        b"%41",
    ],
)
def test_these_are(value):
    assert is_host(value)


@pytest.mark.parametrize(
    "value",
    [
        b"[",
        b"]",
        b"[]",
        b"[::::]",
        b"[1.2.3.4]",
        b"x?",
        b"x/",
        b"x#",
        b"a@b",
        b"a b",
        b"a:b",
        b"a\\b",
        b"a:65536",
        b"a:123456",
        b"\xff",
        b"a\tb",
        b"a:1:2",
        "é".encode(),
        b'"',
        b"<a>",
    ],
)
def test_these_are_not(value):
    assert not is_host(value)
