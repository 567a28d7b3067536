"""Triton's replies on a stream, read without its protobuf, which collides with MLServer's.

ModelStreamInferResponse is {1: string error_message, 2: ModelInferResponse infer_response}.
"""

ERROR, RESPONSE = 1, 2
LENGTH_DELIMITED = 2


class ReplyError(ValueError):
    """Bytes that are no reply in Triton's dialect."""


def split_reply(message: bytes) -> tuple[str, bytes]:
    """The error, empty where there is none, and the serialised ModelInferResponse."""
    error, response, at = "", b"", 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 != LENGTH_DELIMITED:
            raise ReplyError("the reply is not in Triton's dialect")
        length, at = _varint(message, at)
        if at + length > len(message):
            raise ReplyError("the reply is cut short, or not in Triton's dialect")
        field, at = message[at : at + length], at + length
        if tag >> 3 == ERROR:
            error = field.decode(errors="replace")
        elif tag >> 3 == RESPONSE:
            response = field
    return error, response


def unwrapped(message: bytes) -> bytes:
    """The serialised ModelInferResponse of a reply."""
    return split_reply(message)[1]


def plain(message: bytes) -> bytes:
    """The same for MLServer's dialect, whose reply is the response itself."""
    return message


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ReplyError("the reply is cut short")
