"""A recording as a value of a shared store, and back: checked, for anybody may have written there.

    magic (4)  form (1)  seal (32)  payload
The seal is the HMAC-SHA256 of the key, the form and the payload: what was cut short, belongs to
another key or is another program's is no envelope, nor is what was written by one who does not know
the service's secret. Without a secret it only tells faults. The payload, compressed where the form
says so, is recordings/packing.py's.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib

from ..recordings.packing import pack, unpack
from ..recordings.recording import MalformedError, Recording

MAGIC = b"MSC2"
PLAIN, COMPRESSED = b"\0", b"\1"
SEAL_BYTES = hashlib.sha256().digest_size
HEAD_BYTES = len(MAGIC) + 1 + SEAL_BYTES
# Speed first: the value travels over a local network.
LEVEL = 1
# A sample that zlib takes no fifth off is of images or sound: compressing it all costs more than it
# saves.
SAMPLE_BYTES, WORTH = 4096, 0.8


def seal(
    key: bytes, recording: Recording, compress_bytes: int | None, secret: bytes = b""
) -> bytes:
    """The envelope of a recording. Takes milliseconds where there is much to compress.

    Args:
        compress_bytes: from which size on it is compressed; None for never.
        secret: what seals it; empty for none.
    """
    payload = pack(recording.chunks)
    form = PLAIN
    if compress_bytes is not None and len(payload) >= compress_bytes and _is_worth_it(payload):
        form, payload = COMPRESSED, zlib.compress(payload, LEVEL)
    return b"".join([MAGIC, form, _seal_of(secret, key, form, payload), payload])


def unseal(key: bytes, value: bytes, limit: int, secret: bytes = b"") -> Recording:
    """The recording in an envelope.

    Args:
        limit: the most bytes that it may have.
        secret: what sealed it; empty for none.

    Raises:
        MalformedError: the value is no envelope of this secret and key, or holds more.
    """
    form, found = value[4:5], value[5:HEAD_BYTES]
    payload = memoryview(value)[HEAD_BYTES:]
    if value[:4] != MAGIC or form not in (PLAIN, COMPRESSED):
        raise MalformedError("not of this program")
    if not hmac.compare_digest(found, _seal_of(secret, key, form, payload)):
        raise MalformedError("cut short, or of another key or secret")
    if form == COMPRESSED:
        payload = memoryview(_inflated(payload, limit))
    elif len(payload) > limit:
        raise MalformedError("too large")
    return Recording(unpack(payload))


def _seal_of(secret: bytes, key: bytes, form: bytes, payload: bytes | memoryview) -> bytes:
    head = b"%b%d:%b%b" % (MAGIC, len(key), key, form)
    mac = hmac.new(secret, head, hashlib.sha256)
    mac.update(payload)
    return mac.digest()


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
