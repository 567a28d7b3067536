"""What a client's message says, before its model is known."""

import struct
from typing import Any

import pytest

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.sockets.messages import Asked, read_message
from mlserver_streaming.tensors.steps import finish

LIMITS = LimitSettings()


def read(data: bytes, is_text: bool = True) -> Asked:
    return finish(read_message(data, is_text, LIMITS))


def test_the_end() -> None:
    assert read(b'{"end": true}').is_end
    assert not read(b'{"end": false}').is_end
    assert not read(b'{"end": 1}').is_end
    assert not read(b'{"end": true, "text_input": "x"}').is_end


def test_a_request_is_cancelled_by_its_id() -> None:
    assert read(b'{"cancel": "7"}').cancelled == "7"
    assert read(b'{"cancel": "7", "text_input": "x"}').cancelled is None
    with pytest.raises(BadRequestError, match="'cancel'"):
        _ = read(b'{"cancel": 7}').cancelled


def test_a_binary_message_has_its_bytes_behind_the_json() -> None:
    asked = read(struct.pack("<I", 11) + b'{"id": "7"}' + b"tail", is_text=False)
    assert (asked.parsed, bytes(asked.tail), asked.id) == ({"id": "7"}, b"tail", "7")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01\x00", struct.pack("<I", 0) + b"{}", struct.pack("<I", 3) + b"{}", b"\xff" * 8],
)
def test_a_binary_message_without_its_json(data: bytes) -> None:
    with pytest.raises(BadRequestError, match="four bytes"):
        read(data, is_text=False)


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b"no"])
def test_a_message_that_is_no_json_object(data: bytes) -> None:
    with pytest.raises(BadRequestError):
        read(data)


@pytest.mark.parametrize("value", [1, "true", []])
def test_a_key_of_ours_with_a_wrong_value(value: Any) -> None:
    asked = Asked({"own_stream": value}, {}, memoryview(b""))
    with pytest.raises(BadRequestError, match="'own_stream' must be true or false"):
        asked.take("own_stream", bool, "true or false")
