"""How cases are sent: bare HTTP, and gRPC without its stubs, which would refuse to send most."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc

from tests.fuzz.cases import Case

# Within it every request whose frame is whole must be answered.
ANSWER_SECONDS = 60.0
# A stream that goes on is given up: hanging up is input too.
STREAM_SECONDS = 1.0
# Of bytes of which nothing is certain the service may wait for more.
RAW_SECONDS = 0.25
LENGTH = b"\r\ncontent-length: "


class HttpWire:
    """One client's connection, kept for as long as the service does."""

    def __init__(self, port: int):
        self._port = port
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, case: Case) -> bytes:
        """The answer, with its head; empty where none was due.

        Raises:
            TimeoutError: none came.
        """
        if case.raw is not None:
            return await self._raw(case.raw)
        assert case.http is not None
        for fresh in (False, True):
            reader, writer = await self._open(fresh)
            try:
                writer.write(case.http)
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._answer(reader, case.http.startswith(b"HEAD"))
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                if fresh:
                    raise
        raise AssertionError("not reached")

    async def _open(self, fresh: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if fresh or self._connection is None:
            self.close()
            self._connection = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        return self._connection

    async def _answer(self, reader: asyncio.StreamReader, head_only: bool) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = head.lower()
        body = b""
        if head_only or b" 204 " in head[:16] or b" 304 " in head[:16]:
            pass
        elif b"transfer-encoding: chunked" in fields:
            with suppress(TimeoutError):
                async with asyncio.timeout(STREAM_SECONDS):
                    while not body.endswith(b"0\r\n\r\n"):
                        body += await reader.readuntil(b"\r\n")
                    return head + body
            self.close()
        elif LENGTH in fields:
            length = int(fields.partition(LENGTH)[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        if b"connection: close" in fields:
            self.close()
        return head + body

    async def _raw(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        found = b""
        try:
            writer.write(data)
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(RAW_SECONDS):
                    while part := await reader.read(65536):
                        found += part
        finally:
            writer.transport.abort()
        return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection[1].transport.abort()
            self._connection = None


class GrpcWire:
    """One client's channel."""

    def __init__(self, address: str):
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
        ]
        self._channel = grpc.aio.insecure_channel(address, options=options)

    async def send(self, case: Case) -> tuple[grpc.StatusCode, str, list[bytes]]:
        """The call's status, its details, and the replies that came before.

        Raises:
            TimeoutError: a unary call was not answered.
        """
        replies: list[bytes] = []
        try:
            if not case.streams:
                method = self._channel.unary_unary(case.method)
                answer = method(case.messages[0], metadata=case.metadata)
                async with asyncio.timeout(ANSWER_SECONDS):
                    replies.append(await answer)
                return grpc.StatusCode.OK, "", replies
            call = self._channel.stream_stream(case.method)(metadata=case.metadata)
            with suppress(TimeoutError):
                async with asyncio.timeout(STREAM_SECONDS):
                    with suppress(asyncio.InvalidStateError):  # it is over before it is written
                        for message in case.messages:
                            await call.write(message)
                        await call.done_writing()
                    async for reply in call:
                        replies.append(reply)
            call.cancel()
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or "", replies
        return grpc.StatusCode.OK, "", replies

    async def close(self) -> None:
        await self._channel.close()
