"""`x-sequence-id` and a request's `sequence_id` are one, however the header had to be written."""

import pytest

from clients.sequence_header import sequence_headers
from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.streams.sequence_header import (
    SEQUENCE_HEADER,
    check_sequence,
    is_returnable,
)
from tests.streams.planes import ask


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("7", 7),
        ("7", "7"),
        ("cam-1", "cam-1"),
        ("a b", "a b"),
        ("a%20b", "a b"),
        ("a%20b", "a%20b"),
        ("gr%C3%B6%C3%9Fe", "größe"),
        # No sequence, or nothing that could be one, which is refused as such.
        ("7", 0),
        ("7", ""),
        ("7", None),
        ("7", True),
        ("7", 7.5),
        ("7", ["8"]),
    ],
)
def test_the_same(said, named):
    check_sequence(ask(sequence_id=named), said)


@pytest.mark.parametrize(("said", "named"), [("7", 8), ("", "a"), ("7", "07"), ("a", "A")])
def test_another(said, named):
    with pytest.raises(BadRequestError, match="they must be the same") as caught:
        check_sequence(ask(sequence_id=named), said)
    assert caught.value.status_code == 400


def test_a_long_one_is_not_repeated():
    with pytest.raises(BadRequestError) as caught:
        check_sequence(ask(sequence_id=1), "x" * 100_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("id", [7, 2**64 - 1, "cam-1", "größe", "ü" * 128, "a b%\n"])
def test_what_our_clients_send_is_taken_and_given_back(id):
    said = sequence_headers(id)[SEQUENCE_HEADER]
    check_sequence(ask(sequence_id=id), said)
    assert is_returnable(said)


@pytest.mark.parametrize("said", ["", "ö", "a\nb", "x" * 2000])
def test_what_is_no_header_is_not_given_back(said):
    assert not is_returnable(said)
