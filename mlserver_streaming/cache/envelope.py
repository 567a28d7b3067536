"""A recording as a value of a shared store, and back: checked, for anybody may have written there.

    magic (4)  form (1)  digest (16)  payload
The digest is of the key, the form and the payload: what was cut short, belongs to another key or is
another program's is no envelope. The payload, compressed where the form says so, is numbers
(uint32, little-endian) and then bytes: how many chunks; of each, how many tensors it has, and the
lengths of its head and of those; then all heads and tensors in that order.
"""

from __future__ import annotations

import hashlib
import zlib

import numpy as np

from .recording import Chunk, MalformedError, Recording

MAGIC = b"MSC1"
PLAIN, COMPRESSED = b"\0", b"\1"
DIGEST_BYTES = 16
HEAD_BYTES = len(MAGIC) + 1 + DIGEST_BYTES
NUMBER = np.dtype("<u4")
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
    numbers = [len(recording.chunks)]
    parts: list[bytes | memoryview] = []
    for chunk in recording.chunks:
        numbers += [len(chunk.tensors), len(chunk.head), *map(len, chunk.tensors)]
        parts += [chunk.head, *chunk.tensors]
    payload = b"".join([np.array(numbers, NUMBER).tobytes(), *parts])
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


def _chunks(payload: memoryview) -> list[Chunk]:
    numbers = np.frombuffer(payload[: len(payload) // 4 * 4], NUMBER)
    counts: list[tuple[int, list[int]]] = []
    at = 1
    try:
        for _ in range(int(numbers[0])):
            tensors, head = map(int, numbers[at : at + 2])
            lengths = numbers[at + 2 : at + 2 + tensors].tolist()
            if len(lengths) != tensors:
                raise MalformedError("more tensors than there can be")
            counts.append((head, lengths))
            at += 2 + tensors
    except (IndexError, ValueError) as error:
        raise MalformedError("no chunks") from error
    chunks = []
    start = at * NUMBER.itemsize
    for head, lengths in counts:
        parts = []
        for length in (head, *lengths):
            parts.append(payload[start : start + length])
            start += length
        chunks.append(Chunk(parts[0], parts[1:]))
    if start != len(payload):
        raise MalformedError("chunks of other lengths")
    return chunks
