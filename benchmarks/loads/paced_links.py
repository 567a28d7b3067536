"""The ways to a server that paced streams go: gRPC streams, server-sent events, unary calls."""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb

from clients.grpc_messages import Parameter, bytes_request

from ..contenders.process import Target
from ..inputs.triton_dialect import split_reply
from .event_stream import EventStream
from .grpc_load import STREAM
from .load_process import AnswerError
from .pace import Pace, Paced
from .paced_load import Link, Watch, run_paced
from .plain_load import OPTIONS, SERVICE

CONNECT_SECONDS = 10.0
# All streams begin within this time.
RAMP_SECONDS = 0.5


def grpc_requests(
    model: str, tensor: str, elements: Sequence[bytes], parameters: Mapping[str, Parameter]
) -> list[bytes]:
    """A serialised ModelInferRequest for each element, raw, a BYTES tensor of one; its id is its
    place."""
    return [
        bytes_request(
            element, model=model, request_id=str(index), tensor=tensor, parameters=parameters
        ).SerializeToString()
        for index, element in enumerate(elements)
    ]


async def paced_window(
    target: Target, wire: str, requests: Sequence[bytes], streams: int, rate: float, seconds: float
) -> Paced:
    """One run against a contender, in the load process: `streams` streams at `rate`, timed from
    their requests on.

    Args:
        wire: grpc, triton, unary and http take a request an item; with tokens after its name one
            request is answered with a stream of them.
    """
    wire, _, tokens = wire.partition(" ")
    address = f"127.0.0.1:{target.grpc}"

    def link() -> Link:
        if wire == "unary":
            return UnaryLink(address, requests)
        if wire in ("grpc", "triton"):
            return GrpcLink(address, requests, wire == "triton", bool(tokens))
        return HttpLink("127.0.0.1", target.http, requests, bool(tokens), events=bool(tokens))

    links = [link() for _ in range(streams)]
    return await run_paced(links, Pace(streams, rate, seconds, min(RAMP_SECONDS, seconds / 2)))


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
        metadata: Sequence[tuple[str, str]] = (),
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
            try:
                error, message = split_reply(message)
            except DecodeError:
                message = b""
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
    options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
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


class UnaryLink:
    """Unary gRPC calls on a connection of its own, a call an item."""

    def __init__(self, target: str, requests: Sequence[bytes]):
        self._target, self._requests = target, requests

    async def open(self) -> None:
        self._channel = await connected(self._target)

    async def drive(self, watch: Watch) -> None:
        ask: Any = self._channel.unary_unary(f"{SERVICE}ModelInfer")
        index = 0
        while await watch.next_due(index):
            await ask(self._requests[index % len(self._requests)])
            watch.answered(index)
            index += 1

    async def close(self) -> None:
        await self._channel.close(0)


class HttpLink:
    """One HTTP connection.

    Args:
        requests: whole HTTP requests; sent in turn.
        tokens: each answer is a stream of tokens as events; else each request is an item, answered
            when its answer is whole.
        events: answers are events, which may be errors.
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: Sequence[bytes],
        tokens: bool,
        tls: ssl.SSLContext | None = None,
        events: bool = True,
    ):
        self._host, self._port, self._tls = host, port, tls
        self._requests, self._tokens, self._events = requests, tokens, events

    async def open(self) -> None:
        self._stream = await EventStream.connect(self._host, self._port, self._tls)

    async def drive(self, watch: Watch) -> None:
        index = 0
        while watch.is_open() if self._tokens else await watch.next_due(index):
            if self._stream.is_closed:  # some servers close the connection after an answer
                await self.open()
            if self._tokens:
                await watch.ask()
            if self._events:
                self._stream.on_event = watch.token if self._tokens else lambda: None
            await self._stream.ask(self._requests[index % len(self._requests)])
            if self._tokens:
                watch.ended()
            else:
                watch.answered(index)
            index += 1

    async def close(self) -> None:
        self._stream.close()
