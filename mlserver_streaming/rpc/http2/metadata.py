"""A call's headers, as gRPC has them on HTTP/2. Pure.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

import grpc

Fields = list[tuple[bytes, bytes]]


class Field(NamedTuple):
    """A piece of metadata, as handlers and interceptors get it."""

    key: str
    value: str | bytes


Metadata = tuple[tuple[str, str | bytes], ...]

TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
NAME = re.compile(rb"[0-9a-z!#$%&'*+.^_`|~-]+")
# The protocol's own, of which no handler hears; and those that HTTP/2 forbids.
# https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
OWN = {b"te", b"content-type", b"content-length", b"grpc-timeout", b"grpc-encoding"}
OWN.add(b"grpc-accept-encoding")
OF_CONNECTIONS = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding"}
OF_CONNECTIONS.add(b"upgrade")
PSEUDO = {b":method", b":path", b":scheme", b":authority"}
# What a list of headers may have, counted as HTTP/2 does: 32 bytes a header beside its text.
LIST_BYTES, FIELD_BYTES = 16 * 1024, 32

OPENING: Fields = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
]
# Models use few.
KEPT_NAMES = 256
PLAIN_TEXT = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


class MalformedError(Exception):
    """It is no request of HTTP/2: https://www.rfc-editor.org/rfc/rfc9113#section-8.1.1"""


class NoCallError(Exception):
    """It is no gRPC; `status` is HTTP's."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


class BadCallError(Exception):
    """A call that cannot be answered, with its status."""

    def __init__(self, code: grpc.StatusCode, details: str):
        super().__init__(details)
        self.code = code


@dataclass(slots=True)
class Asked:
    """What a call's headers say. `timeout` in seconds."""

    method: str
    metadata: Metadata
    timeout: float | None
    encoding: str


def read(fields: Iterable[tuple[bytes, bytes]]) -> Asked:
    """A request's headers.

    Raises:
        MalformedError: they are none.
        NoCallError: it is no call of gRPC's.
        BadCallError: it is one that cannot be answered.
    """
    pseudo: dict[bytes, bytes] = {}
    own: dict[bytes, bytes] = {}
    given: list[Field] = []
    size = 0
    for name, value in fields:
        size += len(name) + len(value) + FIELD_BYTES
        if name in PSEUDO:
            if own or given or name in pseudo:
                raise MalformedError
            pseudo[name] = value
        elif name in OWN:
            own[name] = value
        elif name in OF_CONNECTIONS or not NAME.fullmatch(name):
            raise MalformedError
        elif name.endswith(b"-bin"):
            given += (Field(name.decode(), each) for each in _binary(name, value))
        else:
            given.append(Field(name.decode(), _text(value)))
    if size > LIST_BYTES:
        raise BadCallError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"The call's metadata has more than {LIST_BYTES} bytes; send less.",
        )
    method, path = pseudo.get(b":method"), pseudo.get(b":path", b"")
    if method is None or b":scheme" not in pseudo or not path.startswith(b"/"):
        raise MalformedError
    if own.get(b"te", b"trailers") != b"trailers":
        raise MalformedError
    if method != b"POST":
        raise NoCallError(405)
    kind = own.get(b"content-type", b"")
    if not kind.startswith(b"application/grpc") or kind[16:17] not in (b"", b"+", b";"):
        raise NoCallError(415)
    timeout = _seconds(own[b"grpc-timeout"]) if b"grpc-timeout" in own else None
    encoding = own.get(b"grpc-encoding", b"identity").decode("latin-1")
    return Asked(path.decode("latin-1"), tuple(given), timeout, encoding)


class Reader:
    """`read`, of one connection: often a call's headers are those of the call before."""

    def __init__(self) -> None:
        self._last: tuple[Fields, Asked] | None = None

    def __call__(self, fields: Fields) -> Asked:
        if self._last is None or self._last[0] != fields:
            self._last = fields, read(fields)
        return self._last[1]


def _binary(name: bytes, value: bytes) -> list[bytes]:
    try:
        return [
            b64decode(part + b"=" * (-len(part) % 4), validate=True) for part in value.split(b",")
        ]
    except Base64Error:
        raise BadCallError(
            grpc.StatusCode.INTERNAL, f"The call's metadata {name.decode()} is no base64."
        ) from None


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _seconds(value: bytes) -> float:
    found = TIMEOUT.fullmatch(value)
    if found is None:
        raise BadCallError(grpc.StatusCode.INTERNAL, "The call's grpc-timeout cannot be read.")
    return int(found[1]) * SECONDS[found[2]]


def encode(metadata: Iterable[tuple[str, str | bytes]]) -> Fields:
    """Metadata as headers. What may not stand in one becomes a question mark."""
    return [(_name(name), _value(name, value)) for name, value in metadata]


@lru_cache(KEPT_NAMES)
def _name(name: str) -> bytes:
    return name.lower().encode("ascii", "replace")


def _value(name: str, value: str | bytes) -> bytes:
    if name.endswith("-bin"):
        return b64encode(value if isinstance(value, bytes) else value.encode()).rstrip(b"=")
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if text.isascii() and text.isprintable():
        return text.strip().encode()
    return "".join(each if " " <= each <= "~" else "?" for each in text).strip().encode()


def trailers(
    code: grpc.StatusCode, details: str, metadata: Iterable[tuple[str, str | bytes]]
) -> Fields:
    """What ends a call."""
    number: int = code.value[0]
    found = [(b"grpc-status", b"%d" % number)]
    if details:
        found.append((b"grpc-message", quote(details, safe=PLAIN_TEXT, errors="replace").encode()))
    return found + encode(metadata)
