"""What is sent over WebSockets and in bodies of many requests, and to streams that are kept."""

from __future__ import annotations

import base64
import json
import struct
from random import Random
from typing import Any

from tests.fuzz.mutations import mutated, mutated_json
from tests.sockets.serving import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame

OPCODES = [CONT, TEXT, BINARY, CLOSE, PING, PONG, 0x3, 0xF]
SOCKET = b"/v2/models/text-model/stream"
REALTIME = b"/v1/realtime?intent=transcription&model=speech-model"
# 100 ms of nothing, at 24 kHz.
SILENCE = base64.b64encode(bytes(4800)).decode()
FLAT = {"id": "1", "text_input": "a b", "delay": 0}
MESSAGES: list[dict[str, Any]] = [
    FLAT,
    {**FLAT, "own_stream": True, "model_name": "text-model"},
    {**FLAT, "model_name": "cached", "model_version": ""},
    {**FLAT, "parameters": {"resumable": True, "timeout": 500_000}},
    {"cancel": "1"},
    {"end": True},
]
EVENTS: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "transcription"}},
    {
        "type": "session.update",
        "session": {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": {"model": "speech-model", "language": "en"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 200},
                }
            },
        },
    },
    {"type": "session.update", "model": "speech-model"},
    {"type": "input_audio_buffer.append", "audio": SILENCE},
    {"type": "input_audio_buffer.commit", "final": True},
    {"type": "input_audio_buffer.clear", "event_id": "1"},
]
PART = b"--x\r\nContent-Type: %b\r\n\r\n%b\r\n"


def messages_of(data: bytes) -> list[tuple[int, bytes]]:
    """The opcodes and payloads of a service's frames, as far as they are whole and not deflated."""
    found = []
    while len(data) >= 2:
        first, size = data[0], data[1]
        at = 2
        if size == 126:
            (size,), at = struct.unpack("!H", data[2:4].ljust(2)), 4
        elif size == 127:
            (size,), at = struct.unpack("!Q", data[2:10].ljust(8)), 10
        if len(data) < at + size:
            break
        if not first & 0x40:
            found.append((first & 0x0F, data[at : at + size]))
        data = data[at + size :]
    return found


def upgrade(target: bytes, headers: dict[str, str]) -> bytes:
    """A request for a WebSocket."""
    lines = [b"GET %b HTTP/1.1" % target, b"Host: localhost", b"Connection: Upgrade"]
    lines += [b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
    lines += [b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16))]
    for name, value in headers.items():
        clean = "".join(each for each in value if " " <= each <= "~")
        lines.append(f"{name}: {clean}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def socket_bytes(chance: Random, headers: dict[str, str], seeds: list[bytes]) -> bytes:
    """An upgrade, and frames behind it: messages that are changed, or frames that are."""
    is_speech = chance.random() < 0.3
    said = EVENTS if is_speech else MESSAGES
    sent = b""
    for _ in range(chance.randint(1, 6)):
        value = chance.choice(said)
        kind = chance.randrange(8)
        if kind < 4:
            sent += frame(TEXT, mutated_json(value, chance))
        elif kind == 4:
            sent += frame(TEXT, json.dumps(value).encode())
        elif kind == 5:
            text = mutated_json(value, chance)
            length = chance.choice([len(text), len(text) + 1, 0, 2**32 - 1])
            sent += frame(BINARY, struct.pack("<I", length) + text + chance.choice(seeds))
        elif kind == 6:
            whole = json.dumps(value).encode()
            data, opcode = mutated(whole, chance, seeds), chance.choice(OPCODES)
            rsv = chance.choice([0, 0, 0x40, 0x70])
            sent += frame(opcode, data, fin=chance.random() < 0.7, rsv=rsv)
        else:
            sent += mutated(frame(TEXT, json.dumps(value).encode()), chance, seeds)
    if chance.random() < 0.25:
        headers = {**headers, "Sec-WebSocket-Extensions": "permessage-deflate"}
    return upgrade(REALTIME if is_speech else SOCKET, headers) + sent


def many_requests(chance: Random, seeds: list[bytes]) -> tuple[str, bytes]:
    """A body of several requests, and its type."""
    requests = [
        mutated_json(chance.choice(MESSAGES[:4]), chance)
        if chance.random() < 0.8
        else mutated(chance.choice(seeds), chance, seeds)
        for _ in range(chance.randint(1, 5))
    ]
    if chance.random() < 0.5:
        return "application/x-ndjson", b"\n".join(requests)
    kinds = [b"application/json", b"image/jpeg", b"text/plain", b"x", b"application/octet-stream"]
    whole = b"".join(PART % (chance.choice(kinds), each) for each in requests) + b"--x--\r\n"
    if chance.random() < 0.3:
        whole = mutated(whole, chance, seeds)
    kind = chance.choice(["multipart/x-mixed-replace", "multipart/form-data"])
    return f"{kind}; boundary=x", whole
