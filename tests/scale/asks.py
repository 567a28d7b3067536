"""The clients of the trials: one question over each wire, and again where nothing was answered."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from collections import Counter
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import grpc
import httpx
from mlserver.grpc import dataplane_pb2 as pb

from mlserver_streaming.rpc.triton.messages import ModelStreamInferResponse
from tests.live.grpc_calls import SERVICE, raw_request
from tests.live.rest_calls import path, tensor
from tests.scale.cluster import Cluster

SSE, GRPC, TRITON = WIRES = ("sse", "grpc", "triton")
INPUTS = {"text-model": "prompt", "remembered": "prompt"}
PAUSE_S, TRIES = 0.05, 400
SEQUENCE = "x-sequence-id"
# What gRPC says of a call that was not answered: refused, or its connection is gone ("Stream
# removed").
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN}


class UnansweredError(Exception):
    """Nothing came; to ask again asks once."""


class CutError(Exception):
    """An answer broke off."""


class RefusedError(Exception):
    """The service itself said no: `status` is HTTP's number, or gRPC's name."""

    def __init__(self, status: object, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Asks:
    """Clients of a cluster: a pool of HTTP connections, a channel for each gRPC dialect.

    Attributes:
        again: how often, and why, a question was asked anew.
    """

    def __init__(self, cluster: Cluster, key: str | None = None) -> None:
        """
        Args:
            key: whose all requests are.
        """
        self._cluster = cluster
        self._headers = () if key is None else (("x-api-key", key),)
        self.again = Counter[str]()

    async def __aenter__(self) -> Self:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = httpx.AsyncClient(
            base_url=self._cluster.url, limits=limits, timeout=60, trust_env=False
        )
        self._grpc = grpc.aio.insecure_channel(self._cluster.grpc)
        self._triton = grpc.aio.insecure_channel(self._cluster.triton)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()
        await self._grpc.close()
        await self._triton.close()

    async def whole(self, wire: str, model: str, text: str = "x", **parameters: Any) -> list[Any]:
        """All values of an answer, asked for until there is one.

        Raises:
            CutError: it broke off.
            RefusedError: the service does not want to.
        """
        for _ in range(TRIES):
            try:
                return [value async for value in self.values(wire, model, text, **parameters)]
            except UnansweredError as error:
                self.again[f"{wire}: {error}"] += 1
                await asyncio.sleep(PAUSE_S)
        raise UnansweredError(f"{TRIES} times")

    async def values(
        self, wire: str, model: str, text: str = "x", **parameters: Any
    ) -> AsyncIterator[Any]:
        """The first element of each response: a word, a number.

        Raises:
            UnansweredError, CutError, RefusedError: as they say.
        """
        ask = self._over_sse if wire == SSE else self._over_grpc
        got = False
        try:
            async for value in ask(wire, model, text, parameters):
                got = True
                yield value
        except (grpc.aio.AioRpcError, httpx.HTTPError) as error:
            if got:
                raise CutError(repr(error)) from error
            if isinstance(error, grpc.aio.AioRpcError) and error.code() not in AGAIN:
                raise RefusedError(error.code().name, error.details() or "") from error
            why = error.code() if isinstance(error, grpc.aio.AioRpcError) else type(error)
            raise UnansweredError(why.name if isinstance(why, grpc.StatusCode) else why) from error

    async def _over_sse(
        self, wire: str, model: str, text: str, parameters: dict[str, Any]
    ) -> AsyncIterator[Any]:
        body = {"inputs": [tensor(INPUTS.get(model, "x"), [text])], "parameters": parameters}
        target = path(model, "generate_stream")
        headers = dict(self._metadata(parameters))
        async with self._http.stream("POST", target, json=body, headers=headers) as answer:
            if answer.status_code in (502, 503, 504):
                raise UnansweredError(str(answer.status_code))
            if not answer.is_success:
                said = json.loads(await answer.aread())["error"]
                raise RefusedError(answer.status_code, said)
            async for line in answer.aiter_lines():
                if line.startswith("event: error"):
                    raise CutError(text)
                if line.startswith("data: "):
                    yield json.loads(line[6:])["outputs"][0]["data"][0]

    async def _over_grpc(
        self, wire: str, model: str, text: str, parameters: dict[str, Any]
    ) -> AsyncIterator[Any]:
        request = raw_request(model, INPUTS.get(model, "x"), [text.encode()], **parameters)
        channel = self._triton if wire == TRITON else self._grpc
        method = channel.stream_stream(SERVICE + "ModelStreamInfer")

        async def requests() -> AsyncIterator[bytes]:
            yield request.SerializeToString()

        async for reply in method(requests(), metadata=self._metadata(parameters)):
            if wire == TRITON:
                message = ModelStreamInferResponse.FromString(reply)
                if message.error_message:
                    raise RefusedError("Triton's", message.error_message)
                reply = message.infer_response
            response = pb.ModelInferResponse.FromString(reply)
            if response.outputs:
                yield _first(response)

    def _metadata(self, parameters: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        """With what a balancer sees of a sequence."""
        found = parameters.get("sequence_id")
        return self._headers if found is None else (*self._headers, (SEQUENCE, str(found)))


def _first(response: pb.ModelInferResponse) -> Any:
    data = response.raw_output_contents[0]
    if response.outputs[0].datatype == "BYTES":
        return data[4:].decode()
    return struct.unpack("<q", data[:8])[0]


class Load:
    """So many clients of all wires that ask again and again until it is left.

    Attributes:
        answered: how many answers came whole.
        lost: what went wrong with the others.
    """

    def __init__(self, asks: Asks, clients: int, text: str, **parameters: Any) -> None:
        self._asks, self._clients, self._text = asks, clients, text
        self._parameters = parameters
        self.answered, self.lost = 0, list[str]()

    async def __aenter__(self) -> Self:
        self._ending = False
        wires = itertools.islice(itertools.cycle(WIRES), self._clients)
        self._tasks = [asyncio.create_task(self._ask(wire)) for wire in wires]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def _ask(self, wire: str) -> None:
        while not self._ending:
            try:
                words = await self._asks.whole(wire, "text-model", self._text, **self._parameters)
            except (CutError, RefusedError, UnansweredError) as error:
                self.lost.append(f"{wire}: {error!r}")
            else:
                if "".join(words) == self._text:
                    self.answered += 1
                else:
                    self.lost.append(f"{wire}: {words}")
