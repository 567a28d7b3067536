"""A speech model over gRPC: whole recordings, or streams of them, several side by side."""

from __future__ import annotations

import asyncio
import struct
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet
from mlserver.grpc.dataplane_pb2 import InferParameter, ModelInferRequest, ModelInferResponse

from ..errors import ItemError
from ..grpc_messages import Parameter, bytes_outputs, bytes_request, raw_request, response_error
from ..grpc_model import GrpcModel
from .heard import Heard

_DOUBLE_PARAM = 4  # Triton's kind of parameter, which MLServer's message does not have


class GrpcSpeech(GrpcModel):
    """A speech model behind ModelInfer and ModelStreamInfer."""

    async def infer(self, recordings: Sequence[bytes]) -> list[str]:
        """Whole recordings in one request; their transcripts. Raises what `ask` raises."""
        request = bytes_request(*recordings, model=self._model, request_id="0", tensor="audio")
        return _transcripts(await self.ask(request))

    async def stream(
        self, recordings: Sequence[AsyncIterable[bytes]], sample_rate: int | None = None
    ) -> AsyncGenerator[Heard, None]:
        """Several recordings are sequences of one stream. With a sample rate the chunks are int16
        samples, else a file's bytes. Raises what `exchange` raises, and what a source raises."""
        sent: dict[str, float] = {}
        writing = asyncio.Lock()
        name = uuid.uuid4().hex

        async def send(call: Any, index: int, chunks: AsyncIterable[bytes]) -> None:
            async def write(chunk: bytes, number: int, *, end: bool = False) -> None:
                parameters: dict[str, Parameter] = {}
                if len(recordings) > 1:
                    start = number == 0
                    parameters = {"sequence_id": f"{name}-{index}", "sequence_start": start}
                    parameters["sequence_end"] = end
                request_id = f"{index}-{number}"
                request = self._chunk(chunk, request_id, parameters, sample_rate)
                async with writing:
                    sent[request_id] = time.perf_counter()
                    await call.write(request)

            number = -1
            async for chunk in chunks:
                number += 1
                await write(chunk, number)
            if len(recordings) > 1:
                await write(b"", number + 1, end=True)

        async def send_all(call: Any) -> None:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for index, chunks in enumerate(recordings):
                        tasks.create_task(send(call, index, chunks))
            except BaseExceptionGroup as group:
                raise _first(group) from None

        async with aclosing(self.exchange(send_all)) as messages:
            async for message in messages:
                if (heard := _heard(message, sent)) is not None:
                    yield heard

    def _chunk(
        self,
        data: bytes,
        request_id: str,
        parameters: dict[str, Parameter],
        sample_rate: int | None,
    ) -> ModelInferRequest:
        common: dict[str, Any] = {"model": self._model, "request_id": request_id, "tensor": "audio"}
        if sample_rate is None:
            return bytes_request(data, parameters=parameters, **common)
        return raw_request(
            data,
            datatype="INT16",
            shape=[len(data) // 2],
            parameters=parameters | {"sample_rate": sample_rate},
            **common,
        )


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
    return [text.decode(errors="replace") for text in bytes_outputs(message, "transcript")]


def _double(parameter: InferParameter) -> float:
    for field in UnknownFieldSet(parameter):  # type: ignore[attr-defined]
        if field.field_number == _DOUBLE_PARAM:
            return float(struct.unpack("<d", struct.pack("<Q", field.data))[0])
    return float(parameter.int64_param)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
