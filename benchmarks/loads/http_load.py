"""Unary HTTP calls over bare asyncio sockets, for peers that have no gRPC stream."""

import asyncio
from collections.abc import Sequence

from ..contenders.process import Target
from .grpc_load import Check
from .load_window import AnswerError, Tally
from .samples import Sample

BOUNDARY = b"----a-boundary-that-no-jpeg-holds"
# Generous: an answer holds one frame.
BUFFER_BYTES = 16 * 1024 * 1024


def post(path: str, body: bytes, content_type: str = "application/octet-stream") -> bytes:
    """A whole request."""
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (path.encode(), content_type.encode(), len(body), body)
    )


def post_file(path: str, data: bytes) -> bytes:
    """A request whose form holds one file, named `file`."""
    head = (
        b'Content-Disposition: form-data; name="file"; filename="file"\r\n'
        b"Content-Type: application/octet-stream"
    )
    body = b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (BOUNDARY, head, data, BOUNDARY)
    return post(path, body, f"multipart/form-data; boundary={BOUNDARY.decode()}")


class HttpConnection:
    """One keep-alive connection, one call on it at a time."""

    def __init__(self, port: int):
        self._port = port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=BUFFER_BYTES
        )

    def close(self) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer, which must be a 200 with a length."""
        self._writer.write(request)
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise AnswerError(f"not a 200: {head.splitlines()[0].decode(errors='replace')}")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            if not length.strip().isdigit():
                raise AnswerError("an answer without a length")
            return await self._reader.readexactly(int(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise AnswerError("the server cut the connection") from error


async def http_calls(
    target: Target, requests: Sequence[bytes], is_right: Check, in_flight: int, seconds: float
) -> Sample:
    """One call after another on each of `in_flight` connections."""
    connections = [HttpConnection(target.http) for _ in range(in_flight)]
    for each in connections:
        await each.open()
    lengths = []
    for index, request in enumerate(requests):
        answer = await connections[0].ask(request)
        if not is_right(index, answer):
            raise AnswerError(f"the answer to request {index} is wrong: {answer[:100]!r}")
        lengths.append(len(answer))
    tally = Tally(target.pid, seconds)

    async def one_after_another(connection: HttpConnection, index: int) -> None:
        while tally.is_open():
            answer = await connection.ask(requests[index % len(requests)])
            if len(answer) != lengths[index % len(requests)]:
                raise AnswerError(f"an answer of {len(answer)} bytes")
            tally.responses += 1
            tally.received_bytes += len(answer)
            index += 1

    await asyncio.gather(*(one_after_another(each, n) for n, each in enumerate(connections)))
    sample = tally.close()
    for each in connections:
        each.close()
    return sample
