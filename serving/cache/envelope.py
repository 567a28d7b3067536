"""A recording as a value of a shared store, and back: checked, for anybody may have written there.

    magic (4)  form (1)  digest (16)  payload
The digest is of the key, the form and the payload: what was cut short, belongs to another key or is
another program's is no envelope. The payload is the number of chunks and their lengths (uint32,
little-endian), then the chunks; compressed where the form says so.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

from .recording import MalformedError, Recording

MAGIC = b"MSC1"
PLAIN, COMPRESSED = b"\0", b"\1"
DIGEST_BYTES = 16
HEAD_BYTES = len(MAGIC) + 1 + DIGEST_BYTES
LENGTH = struct.Struct("<I")
# Speed first: the value travels over a local network.
LEVEL = 1
# A sample that zlib takes no fifth off is of images or sound: compressing it all costs more than it
# saves.
SAMPLE_BYTES, WORTH = 4096, 0.8


def seal(key: bytes, recording: Recording, compress_bytes: int | None) -> bytes:
    """The envelope of a recording. Takes milliseconds where there is much to compress.

    Args:
        compress_bytes: from which size on it is compressed; None for never.
    """
    lengths = [LENGTH.pack(len(chunk)) for chunk in recording.chunks]
    payload = b"".join([LENGTH.pack(len(lengths)), *lengths, *recording.chunks])
    form = PLAIN
    if compress_bytes is not None and len(payload) >= compress_bytes and _is_worth_it(payload):
        form, payload = COMPRESSED, zlib.compress(payload, LEVEL)
    return b"".join([MAGIC, form, _digest(key, form, payload), payload])


def unseal(key: bytes, value: bytes, limit: int) -> Recording:
    """The recording in an envelope.

    Args:
        limit: the most bytes that it may have.

    Raises:
        MalformedError: the value is no envelope of this key, or holds more.
    """
    form, digest = value[4:5], value[5:HEAD_BYTES]
    payload = memoryview(value)[HEAD_BYTES:]
    if value[:4] != MAGIC or form not in (PLAIN, COMPRESSED):
        raise MalformedError("not of this program")
    if digest != _digest(key, form, payload):
        raise MalformedError("cut short, or of another key")
    if form == COMPRESSED:
        payload = memoryview(_inflated(payload, limit))
    elif len(payload) > limit:
        raise MalformedError("too large")
    return Recording(_chunks(payload))


def _digest(key: bytes, form: bytes, payload: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(b"%d:%b%b" % (len(key), key, form))
    digest.update(payload)
    return digest.digest()[:DIGEST_BYTES]


def _is_worth_it(payload: bytes) -> bool:
    sample = payload[len(payload) // 2 :][:SAMPLE_BYTES]
    return len(zlib.compress(sample, LEVEL)) <= WORTH * len(sample)


def _inflated(payload: memoryview, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(payload, limit + 1)
    except zlib.error as error:
        raise MalformedError("not compressed") from error
    if len(found) > limit or not inflater.eof:
        raise MalformedError("too large")
    return found


def _chunks(payload: memoryview) -> list[memoryview]:
    try:
        (count,) = LENGTH.unpack_from(payload)
        at = LENGTH.size * (count + 1)
        if at > len(payload):
            raise MalformedError("more chunks than there can be")
        chunks = []
        for number in range(count):
            (length,) = LENGTH.unpack_from(payload, LENGTH.size * (number + 1))
            chunks.append(payload[at : at + length])
            at += length
    except struct.error as error:
        raise MalformedError("no chunks") from error
    if at != len(payload):
        raise MalformedError("chunks of other lengths")
    return chunks
