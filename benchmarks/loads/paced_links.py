"""The ways to a server that paced streams go: gRPC streams, server-sent events, unary HTTP."""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import grpc
from mlserver.grpc import dataplane_pb2 as pb

from ..contenders.contenders import MAX_MESSAGE_BYTES
from .event_stream import EventStream
from .grpc_load import STREAM, UNARY
from .http_load import HttpConnection
from .load_window import AnswerError
from .paced_load import Watch
from .triton_dialect import split_reply

Metadata = Sequence[tuple[str, str]]
CONNECT_SECONDS = 10.0


class GrpcLink:
    """One stream of ModelInferRequests on a connection of its own.

    Args:
        requests: serialised; sent in turn. Their ids, where they differ, tell the answers apart.
        wrapped: replies come in Triton's dialect.
        tokens: one request, answered with a stream of responses; else a response a request.
    """

    def __init__(
        self,
        target: str,
        requests: Sequence[bytes],
        wrapped: bool = False,
        tokens: bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Metadata = (),
    ):
        self._target, self._requests = target, requests
        self._wrapped, self._tokens = wrapped, tokens
        self._credentials, self._metadata = credentials, metadata
        self._ids = [pb.ModelInferRequest.FromString(each).id for each in requests]
        self._sent: dict[str, deque[int]] = defaultdict(deque)

    async def open(self) -> None:
        self._channel = await connected(self._target, self._credentials)

    async def drive(self, watch: Watch) -> None:
        try:
            await (self._drive_tokens(watch) if self._tokens else self._drive_items(watch))
        except grpc.aio.AioRpcError as error:
            raise AnswerError(f"{error.code().name}: {error.details()}") from None

    async def close(self) -> None:
        await self._channel.close(0)

    def _call(self) -> Any:
        stream: Any = self._channel.stream_stream(STREAM)
        return stream(metadata=tuple(self._metadata))

    async def _drive_tokens(self, watch: Watch) -> None:
        while watch.is_open():
            await watch.ask()
            call = self._call()
            await call.write(self._requests[0])
            await call.done_writing()
            async for message in call:
                error, _ = self._read(message)
                if error:
                    watch.failed(error)
                else:
                    watch.token()
            watch.ended()

    async def _drive_items(self, watch: Watch) -> None:
        call = self._call()

        async def write() -> None:
            index = 0
            while await watch.next_due(index):
                which = index % len(self._requests)
                self._sent[self._ids[which]].append(index)
                await call.write(self._requests[which])
                index += 1
            await call.done_writing()

        writing = asyncio.create_task(write())
        try:
            async for message in call:
                error, id = self._read(message)
                # A server that gives no ids back answers in order.
                sent = self._sent[id] or self._sent[min(self._sent, key=self._oldest)]
                if not sent:
                    watch.failed("more responses than requests")
                    continue
                index = sent.popleft()
                if error:
                    watch.failed(error, index)
                else:
                    watch.answered(index)
        finally:
            writing.cancel()

    def _oldest(self, id: str) -> float:
        return self._sent[id][0] if self._sent[id] else float("inf")

    def _read(self, message: bytes) -> tuple[str, str]:
        """A reply's error, empty where there is none, and its id."""
        error = ""
        if self._wrapped:
            error, message = split_reply(message)
            if not message:
                # What stands first in MLServer's reply, the model's name, is an error here.
                error += " (the reply may be in MLServer's dialect, --wire grpc)"
        response = pb.ModelInferResponse.FromString(message)
        if not response.model_name and not error:
            raise AnswerError("the reply names no model; is it in Triton's dialect, --wire triton?")
        if not error and "error" in response.parameters and not response.outputs:
            error = response.parameters["error"].string_param
        return error, response.id


async def connected(
    target: str, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """A channel with a connection of its own, as clients on machines of their own have.

    Raises:
        AnswerError: nobody answers there.
    """
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if credentials is None:
        channel = grpc.aio.insecure_channel(target, options=options)
    else:
        channel = grpc.aio.secure_channel(target, credentials, options=options)
    try:
        await asyncio.wait_for(channel.channel_ready(), CONNECT_SECONDS)
    except TimeoutError:
        await channel.close()
        raise AnswerError("no gRPC server answers there") from None
    return channel


class SseLink:
    """One HTTP connection whose answers are streams of events.

    Args:
        requests: whole HTTP requests; sent in turn.
        tokens: each answer is a stream of tokens; else each request is an item, answered by an
            event.
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: Sequence[bytes],
        tokens: bool,
        tls: ssl.SSLContext | None = None,
    ):
        self._host, self._port, self._tls = host, port, tls
        self._requests, self._tokens = requests, tokens

    async def open(self) -> None:
        self._stream = await EventStream.connect(self._host, self._port, self._tls)

    async def drive(self, watch: Watch) -> None:
        if self._tokens:
            self._stream.on_event = watch.token
            while watch.is_open():
                await self._reopen()
                await watch.ask()
                await self._stream.ask(self._requests[0])
                watch.ended()
            return
        index = 0
        while await watch.next_due(index):
            await self._reopen()
            await self._stream.ask(self._requests[index % len(self._requests)])
            watch.answered(index)
            index += 1

    async def close(self) -> None:
        self._stream.close()

    async def _reopen(self) -> None:
        """Some servers close the connection after an answer."""
        if self._stream.is_closed:
            handler = self._stream.on_event
            await self.open()
            self._stream.on_event = handler


class HttpLink:
    """One HTTP connection, a call an item: for peers without streams of requests."""

    def __init__(self, port: int, requests: Sequence[bytes]):
        self._connection, self._requests = HttpConnection(port), requests

    async def open(self) -> None:
        await self._connection.open()

    async def drive(self, watch: Watch) -> None:
        index = 0
        while await watch.next_due(index):
            await self._connection.ask(self._requests[index % len(self._requests)])
            watch.answered(index)
            index += 1

    async def close(self) -> None:
        self._connection.close()


class UnaryLink:
    """Unary gRPC calls on a connection of its own, a call an item."""

    def __init__(self, target: str, requests: Sequence[bytes]):
        self._target, self._requests = target, requests

    async def open(self) -> None:
        self._channel = await connected(self._target)

    async def drive(self, watch: Watch) -> None:
        ask: Any = self._channel.unary_unary(UNARY)
        index = 0
        while await watch.next_due(index):
            await ask(self._requests[index % len(self._requests)])
            watch.answered(index)
            index += 1

    async def close(self) -> None:
        await self._channel.close(0)
