"""Streams of server-sent events over bare asyncio sockets: events are counted, not parsed.

The first stream of each connection is parsed whole and must be the prompt again; all later ones
must have as many events and, but for chunk framing, as many bytes.
"""

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from ..contenders.process import Target
from .http_load import post
from .load_window import AnswerError, Tally
from .samples import Sample

# Neither ends can stand inside an event: its JSON is compact and escapes line breaks.
EVENT_END = b"\n\n"
BODY_END = b"\r\n0\r\n\r\n"
CHUNK_BYTES = 8  # what a chunk of an event's size costs, around it
CHUNK = re.compile(rb"([0-9a-fA-F]+)\r\n")


class EventConnection(asyncio.Protocol):
    """One keep-alive connection, one stream on it at a time."""

    def __init__(self) -> None:
        self.events = self.size = 0
        self.first_at = 0.0
        self.kept: list[bytes] | None = None
        self._tail = b""
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(AnswerError("the server cut the connection"))

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        if self.kept is not None:
            self.kept.append(data)
        found = data.count(EVENT_END)
        if self._tail[-1:] == b"\n" == data[:1]:
            found += 1
        if found and not self.events:
            self.first_at = time.perf_counter()
        self.events += found
        self._tail = (self._tail + data[-len(BODY_END) :])[-len(BODY_END) :]
        if self._tail == BODY_END and self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def stream(self, request: bytes) -> None:
        """Send a request and wait for the last event of its answer."""
        self.events = self.size = 0
        self._tail = b""
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._done

    async def checked_stream(self, call: "TextCall") -> tuple[int, int]:
        """As `stream`, and the answer must be the prompt; how many events and bytes it took."""
        self.kept = []
        await self.stream(call.request)
        answer, self.kept = b"".join(self.kept), None
        if said(answer, call.word) != call.prompt:
            raise AnswerError(f"not the prompt again: {answer[:300]!r}")
        return self.events, self.size


@dataclass(frozen=True)
class TextCall:
    """One stream of text, as a server wants to be asked for it.

    Attributes:
        request: the whole HTTP request.
        word: finds the word in an event's JSON.
        certificate: the server's, a PEM file, where it speaks TLS.
    """

    request: bytes
    prompt: str
    word: Callable[[Any], str]
    certificate: str | None = None


def v2_word(event: Any) -> str:
    """The word in a V2 response."""
    return str(event["outputs"][0]["data"][0])


def flat_word(event: Any) -> str:
    """The word in the flat form of Triton's generate extension."""
    return str(event["output"])


def said(answer: bytes, word: Callable[[Any], str] = v2_word) -> str:
    """The text that a whole HTTP answer's events hold, joined."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise AnswerError(f"not a 200: {answer[:300]!r}")
    plain, at = [], 0
    while (size := CHUNK.match(body, at)) and int(size[1], 16):
        end = size.end() + int(size[1], 16)
        plain.append(body[size.end() : end])
        at = end + 2
    events = b"".join(plain).split(EVENT_END)[:-1]
    return "".join(word(json.loads(event.removeprefix(b"data: "))) for event in events)


def text_call(model: str, prompt: str, key: str = "", certificate: str | None = None) -> TextCall:
    """One stream of a text model of MLServer's, with a key where there is one."""
    return TextCall(v2_request(model, prompt, key), prompt, v2_word, certificate)


def v2_request(model: str, prompt: str, key: str = "", seed: int | None = None) -> bytes:
    """The whole HTTP request of a V2 stream."""
    tensor = {
        "name": "prompt",
        "shape": [1],
        "datatype": "BYTES",
        "data": [prompt],
        "parameters": {"content_type": "str"},
    }
    parameters = {} if seed is None else {"seed": seed}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    return (
        b"POST /v2/models/%b/generate_stream HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
        % (model.encode(), f"x-api-key: {key}\r\n".encode() if key else b"", len(body), body)
    )


def flat_call(path: str, prompt: str) -> TextCall:
    """One stream of a server that takes the prompt by name and answers flat events."""
    request = post(path, json.dumps({"prompt": prompt}).encode(), "application/json")
    return TextCall(request, prompt, flat_word)


async def sse_streams(
    target: Target, call: TextCall, clients: int, seconds: float, at_once: bool
) -> Sample:
    """`clients` connections, each with one stream after another.

    Args:
        at_once: all streams begin at the same moment, and the next ones when all have ended.
    """
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context(cafile=call.certificate) if call.certificate else None
    connections = [
        (await loop.create_connection(EventConnection, "127.0.0.1", target.http, ssl=tls))[1]
        for _ in range(clients)
    ]
    wanted = [await each.checked_stream(call) for each in connections]
    tally = Tally(target.pid, seconds)

    async def one(connection: EventConnection, wanted: tuple[int, int], begun: float) -> None:
        await connection.stream(call.request)
        # A server may put events that are ready together into one chunk, and not always the same.
        events, size = wanted
        if connection.events != events or abs(connection.size - size) > CHUNK_BYTES * events:
            raise AnswerError(f"{connection.events} events, {connection.size} bytes: not {wanted}")
        tally.responses += connection.events
        tally.received_bytes += connection.size
        tally.first_seconds.append(connection.first_at - begun)

    async def one_after_another(connection: EventConnection, wanted: tuple[int, int]) -> None:
        while tally.is_open():
            await one(connection, wanted, time.perf_counter())

    if at_once:
        while tally.is_open():
            begun = time.perf_counter()
            await asyncio.gather(
                *(one(*each, begun) for each in zip(connections, wanted, strict=True))
            )
    else:
        await asyncio.gather(
            *(one_after_another(*each) for each in zip(connections, wanted, strict=True))
        )
    sample = tally.close()
    for connection in connections:
        connection.transport.close()
    return sample
