"""A speech model over gRPC and over HTTP: whole recordings, or streams of them."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import quote

import grpc
import httpx
import httpx_sse
from google.protobuf.unknown_fields import UnknownFieldSet
from mlserver.grpc.dataplane_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from ..address import is_loopback, join_address
from ..errors import (
    ErrorEventError,
    ItemError,
    NoResponseError,
    ProtocolError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from ..grpc_channel import call_error, open_channel
from ..grpc_messages import response_error

_LENGTH = struct.Struct("<I")
_DOUBLE_PARAM = 4  # Triton's kind of parameter, which MLServer's message does not have


@dataclass(frozen=True)
class Heard:
    """One response: what was said in an utterance, so far or finally; or why a request failed.

    `recording` is its place among those of the stream, `end` the second at which the voice ended,
    `latency` seconds from sending the chunk that it answers.
    """

    recording: int
    text: str
    final: bool
    utterance: int
    end: float
    latency: float
    error: ItemError | None = None


class SpeechCalls(Protocol):
    """What both protocols can do."""

    async def infer(self, recordings: Sequence[bytes]) -> list[str]:
        """Whole recordings in one request; their transcripts."""

    def stream(
        self, recordings: Sequence[AsyncIterable[bytes]], sample_rate: int | None = None
    ) -> AsyncGenerator[Heard, None]:
        """Recordings chunk by chunk, all at once; what is heard, as it is heard."""


class GrpcSpeech:
    """A speech model behind ModelInfer and ModelStreamInfer. `timeout` is in seconds, for each
    response once all is sent."""

    def __init__(self, *, host: str, port: int, model: str, timeout: float) -> None:
        self._host, self._port, self._model, self._timeout = host, port, model, timeout
        self._address = join_address(host, port)

    async def __aenter__(self) -> Self:
        self._channel = open_channel(self._host, self._port)
        self._stub: Any = GRPCInferenceServiceStub(self._channel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def infer(self, recordings: Sequence[bytes]) -> list[str]:
        """Raises RefusedError, NoResponseError, UnreachableError or StreamCutError."""
        try:
            message = await self._stub.ModelInfer(
                self._request("0", recordings), timeout=self._timeout
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise NoResponseError(f"no response within {self._timeout:g} s") from error
            raise call_error(error, self._address) from error
        return _transcripts(message)

    async def stream(
        self, recordings: Sequence[AsyncIterable[bytes]], sample_rate: int | None = None
    ) -> AsyncGenerator[Heard, None]:
        """Several recordings are sequences of one stream. With a sample rate the chunks are int16
        samples, else a file's bytes. Raises what `infer` raises, and what a source raises."""
        call = self._stub.ModelStreamInfer()
        sent: dict[str, float] = {}
        writing = asyncio.Lock()
        name = uuid.uuid4().hex

        async def send(index: int, chunks: AsyncIterable[bytes]) -> None:
            async def write(chunk: bytes, number: int, *, end: bool = False) -> None:
                parameters: dict[str, Any] = {}
                if len(recordings) > 1:
                    start = number == 0
                    parameters = {"sequence_id": f"{name}-{index}", "sequence_start": start}
                    parameters["sequence_end"] = end
                request_id = f"{index}-{number}"
                request = self._request(request_id, [chunk], parameters, sample_rate)
                async with writing:
                    sent[request_id] = time.perf_counter()
                    await call.write(request)

            number = -1
            async for chunk in chunks:
                number += 1
                await write(chunk, number)
            if len(recordings) > 1:
                await write(b"", number + 1, end=True)

        async def send_all() -> None:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for index, chunks in enumerate(recordings):
                        tasks.create_task(send(index, chunks))
                await call.done_writing()
            except BaseException as error:
                # Where the call is over, its reader gets the reason.
                if not isinstance(_first(error), grpc.aio.AioRpcError | asyncio.InvalidStateError):
                    call.cancel()
                    raise

        sending = asyncio.create_task(send_all())
        try:
            messages = aiter(call)
            while (message := await self._next(messages, sending)) is not None:
                heard = _heard(message, sent)
                if heard is not None:
                    yield heard
            await sending
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            if sending.done() and not sending.cancelled() and (cause := sending.exception()):
                raise _first(cause) from None
            if isinstance(error, asyncio.CancelledError):
                raise
            raise call_error(error, self._address) from error
        finally:
            sending.cancel()
            call.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await sending

    async def _next(
        self, messages: AsyncIterator[ModelInferResponse], sending: asyncio.Task[None]
    ) -> ModelInferResponse | None:
        message = asyncio.ensure_future(anext(messages, None))
        try:
            await asyncio.wait({message, sending}, return_when=asyncio.FIRST_COMPLETED)
            return await asyncio.wait_for(message, self._timeout)
        except TimeoutError as error:
            raise NoResponseError(
                f"no response from {self._address} within {self._timeout:g} s"
            ) from error
        finally:
            message.cancel()

    def _request(
        self,
        request_id: str,
        data: Sequence[bytes],
        parameters: dict[str, Any] | None = None,
        sample_rate: int | None = None,
    ) -> ModelInferRequest:
        tensor = ModelInferRequest.InferInputTensor(name="audio", datatype="BYTES")
        raw, shape = b"".join(_LENGTH.pack(len(each)) + each for each in data), [len(data)]
        if sample_rate is not None:
            tensor.datatype, raw, shape = "INT16", data[0], [len(data[0]) // 2]
        tensor.shape.extend(shape)
        request = ModelInferRequest(
            model_name=self._model, id=request_id, inputs=[tensor], raw_input_contents=[raw]
        )
        for name, value in (parameters or {}).items():
            field = "bool_param" if isinstance(value, bool) else "string_param"
            setattr(request.parameters[name], field, value)
        if sample_rate is not None:
            request.parameters["sample_rate"].int64_param = sample_rate
        return request


class HttpSpeech:
    """A speech model behind `infer` and `infer_stream`, the audio as binary tensors.

    `timeout` is in seconds, for each response. `transport` replaces the network, in tests.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        model: str,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = join_address(host, port)
        self._base = f"http://{self._address}/v2/models/{quote(model, safe='')}"
        self._timeout = timeout
        self._client = httpx.AsyncClient(
            timeout=timeout, trust_env=not is_loopback(host), transport=transport
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def infer(self, recordings: Sequence[bytes]) -> list[str]:
        """Raises RefusedError, NoResponseError, UnreachableError, StreamCutError, ProtocolError."""
        body, headers = _http_body(recordings)
        try:
            response = await self._client.post(f"{self._base}/infer", content=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._client_error(error) from error
        if not response.is_success:
            raise RefusedError(_error_of(response.text), response.status_code)
        try:
            outputs = response.json()["outputs"]
            return [str(text) for text in outputs[0]["data"]]
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ProtocolError(f"the answer is no transcript: {response.text[:200]}") from error

    async def stream(
        self, recordings: Sequence[AsyncIterable[bytes]], sample_rate: int | None = None
    ) -> AsyncGenerator[Heard, None]:
        """One recording, gathered whole and sent as one request; its events."""
        data = b"".join([chunk async for chunk in recordings[0]])
        body, headers = _http_body([data])
        sent = time.perf_counter()
        try:
            async with AsyncExitStack() as stack:
                source = await stack.enter_async_context(
                    httpx_sse.aconnect_sse(
                        self._client,
                        "POST",
                        f"{self._base}/infer_stream",
                        content=body,
                        headers=headers,
                    )
                )
                if not source.response.is_success:
                    text = (await source.response.aread()).decode(errors="replace")
                    raise RefusedError(_error_of(text), source.response.status_code)
                events = await stack.enter_async_context(aclosing(source.aiter_sse()))
                async for event in events:
                    if event.event == "error":
                        raise ErrorEventError(_error_of(event.data))
                    if (heard := _heard_event(event.data, time.perf_counter() - sent)) is not None:
                        yield heard
        except (httpx.HTTPError, httpx_sse.SSEError) as error:
            raise self._client_error(error) from error

    def _client_error(self, error: Exception) -> Exception:
        match error:
            case httpx.TimeoutException():
                return NoResponseError(
                    f"no response from {self._address} within {self._timeout:g} s"
                )
            case httpx.ConnectError():
                return UnreachableError(f"nobody answers at {self._address}: {error}")
            case httpx_sse.SSEError():
                return ProtocolError(f"the answer is not an event stream: {error}")
        return StreamCutError(f"the answer from {self._address} was cut: {error}")


def _http_body(recordings: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
    """JSON and the tensor's bytes behind it: the V2 protocol's binary data extension."""
    raw = b"".join(_LENGTH.pack(len(each)) + each for each in recordings)
    tensor = {
        "name": "audio",
        "datatype": "BYTES",
        "shape": [len(recordings)],
        "parameters": {"binary_data_size": len(raw)},
    }
    text = json.dumps({"inputs": [tensor]}).encode()
    return text + raw, {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(text)),
    }


def _error_of(text: str) -> str:
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(text)["error"])
    return text.strip()[:200] or "no reason given"


def _heard_event(data: str, latency: float) -> Heard | None:
    try:
        response = json.loads(data)
        found = response.get("parameters") or {}
        if "error" in found:
            error = ItemError(str(found["error"]), found.get("error_code"))
            return Heard(0, "", True, 0, 0.0, latency, error)
        if not response["outputs"]:
            return None
        text = str(response["outputs"][0]["data"][0])
        return Heard(0, text, bool(found["final"]), found["utterance"], found["end"], latency)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ProtocolError(f"an event is no transcript: {data[:200]}") from error


def _heard(message: ModelInferResponse, sent: dict[str, float]) -> Heard | None:
    index = int(message.id.partition("-")[0])
    latency = time.perf_counter() - sent[message.id]
    if (failure := response_error(message)) is not None:
        return Heard(index, "", True, 0, 0.0, latency, ItemError(*failure))
    if not message.outputs:
        return None
    text = _transcripts(message)[0]
    final = message.parameters["final"].bool_param
    utterance = message.parameters["utterance"].int64_param
    return Heard(index, text, final, utterance, _double(message.parameters["end"]), latency)


def _transcripts(message: ModelInferResponse) -> list[str]:
    for output, raw in zip(message.outputs, message.raw_output_contents, strict=False):
        if output.name == "transcript":
            texts, at = [], 0
            while at < len(raw):
                (length,) = _LENGTH.unpack_from(raw, at)
                texts.append(raw[at + 4 : at + 4 + length].decode(errors="replace"))
                at += 4 + length
            return texts
    raise ProtocolError("a response has no output 'transcript'")


def _double(parameter: InferParameter) -> float:
    for field in UnknownFieldSet(parameter):  # type: ignore[attr-defined]
        if field.field_number == _DOUBLE_PARAM:
            return float(struct.unpack("<d", struct.pack("<Q", field.data))[0])
    return float(parameter.int64_param)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
