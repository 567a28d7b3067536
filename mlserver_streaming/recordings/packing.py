"""Chunks of a recording as one payload, and back.

Numbers (uint32, little-endian) and then bytes: how many chunks; of each, how many tensors it has,
and the lengths of its head and of those; then all heads and tensors in that order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .recording import Chunk, MalformedError

NUMBER = np.dtype("<u4")


def pack(chunks: Sequence[Chunk]) -> bytes:
    numbers = [len(chunks)]
    parts: list[bytes | memoryview] = []
    for chunk in chunks:
        numbers += [len(chunk.tensors), len(chunk.head), *map(len, chunk.tensors)]
        parts += [chunk.head, *chunk.tensors]
    return b"".join([np.array(numbers, NUMBER).tobytes(), *parts])


def unpack(payload: memoryview) -> list[Chunk]:
    """The chunks; views of the payload.

    Raises:
        MalformedError
    """
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
