"""Nearly what was meant: bytes, and JSON, with something wrong in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

NUMBERS = [0, 1, -1, 255, 2**31, -(2**31), 2**63, -(2**63), 2**64, 10**400, 0.5, -1e308, 1e999]
TEXTS = [
    "",
    "\0",
    "\r\n",
    "\x85\u2028",
    "é" * 40,
    "\ud800",
    "[",
    "%",
    "a" * 3000,
    "null",
    "../..",
    "{}",
]
NAMES = [
    *("id", "name", "shape", "data", "datatype", "inputs", "outputs", "parameters", "headers"),
    *("content_type", "binary_data", "binary_data_size", "binary_data_output", "timeout", "cache"),
    *("sequence_id", "sequence_start", "sequence_end", "text_input", "delay", "quality", "error"),
    *("priority", "triton_enable_empty_final_response", "error_code", "__class__"),
    *("model", "messages", "role", "content", "tool_calls", "function", "arguments", "type"),
    *("input", "stop", "n", "stream", "stream_options", "response_format", "tool_choice"),
]
DATATYPES = ["BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64", "BYTES", "bytes", "", "STRING"]
TOKENS = [
    *(
        b"\0",
        b"\xff\xff\xff\xff",
        b"\r\n",
        b"\r\n\r\n",
        b"\x80\x80\x80\x80\x80\x01",
        b"\xed\xa0\x80",
    ),
    *(b"{", b"}", b"[" * 300, b'"', b"\\u0000", b"1e999", b"NaN", b"-0", b"%00", b"%ff", b"%2e%2e"),
    *(b"0" * 5000, b"\x08", b"\x0a\x00", b"\x12\xff\x01", b"\x3a", b"chunked", b"-1", b";q=0"),
]
MAX_CHANGES = 4


def mutated(data: bytes, chance: Random, others: list[bytes]) -> bytes:
    """A few changes, of any kind; `others` lend their parts."""
    for _ in range(chance.randint(1, MAX_CHANGES)):
        data = chance.choice(CHANGES)(data, chance, others)
    return data


def _flip(data: bytes, chance: Random, others: list[bytes]) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, chance: Random, others: list[bytes]) -> bytes:
    start, end = sorted(chance.randint(0, len(data)) for _ in range(2))
    return data[:start] + data[end:]


def _end(data: bytes, chance: Random, others: list[bytes]) -> bytes:
    return data[: chance.randint(0, len(data))]


def _repeat(data: bytes, chance: Random, others: list[bytes]) -> bytes:
    start, end = sorted(chance.randint(0, len(data)) for _ in range(2))
    part = data[start:end][:2000]
    return data[:end] + part * chance.randint(1, 5) + data[end:]


def _insert(data: bytes, chance: Random, others: list[bytes]) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.choice(TOKENS) + data[at:]


def _overwrite(data: bytes, chance: Random, others: list[bytes]) -> bytes:
    at = chance.randint(0, len(data))
    token = chance.choice(TOKENS)
    return data[:at] + token + data[at + len(token) :]


def _splice(data: bytes, chance: Random, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


CHANGES: list[Callable[[bytes, Random, list[bytes]], bytes]] = [
    *(_flip, _cut, _end, _repeat, _insert, _overwrite, _splice),
]


def mutated_json(value: Any, chance: Random) -> bytes:
    """JSON with a few values, or names, that are others."""
    whole = json.loads(json.dumps(value))
    for _ in range(chance.randint(1, MAX_CHANGES)):
        nodes = list(_nodes(whole))
        owner, key = chance.choice(nodes)
        kind = chance.randrange(5)
        if kind == 0:
            del owner[key]
        elif kind == 1 and isinstance(owner, dict):
            owner[chance.choice(NAMES)] = owner[key]
        elif kind == 2 and isinstance(owner, list):
            owner.insert(chance.randint(0, len(owner)), _value(chance))
        elif kind == 3 and isinstance(owner, dict):
            owner[chance.choice(NAMES)] = _value(chance)
        else:
            owner[key] = _value(chance)
        if not whole:
            break
    # NaN, Infinity and half characters too, as Python writes them.
    return json.dumps(whole).encode()


def _nodes(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list) and inner:
            yield from _nodes(inner)


def _value(chance: Random) -> Any:
    kind = chance.randrange(8)
    if kind == 0:
        return None
    if kind == 1:
        return chance.choice([True, False])
    if kind == 2:
        return chance.choice(NUMBERS)
    if kind == 3:
        return chance.choice(TEXTS)
    if kind == 4:
        return chance.choice(DATATYPES)
    if kind == 5:
        found: Any = chance.choice([1, "a", [], {}])
        for _ in range(chance.choice([1, 3, 40, 200])):
            found = [found] if chance.random() < 0.5 else {"a": found}
        return found
    if kind == 6:
        return [chance.choice(NUMBERS) for _ in range(chance.choice([0, 1, 3, 500]))]
    return {chance.choice(NAMES): chance.choice(TEXTS) for _ in range(3)}
