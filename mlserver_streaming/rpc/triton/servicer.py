"""The Triton dialect of the gRPC service, on a port of its own.

Requests are the same messages. Replies of a stream are Triton's own; each request is a stream of
its own to its model, and its last response says so.
https://github.com/triton-inference-server/server, docs/user_guide/decoupled_models.md
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from mlserver import MLModel
from mlserver.logging import logger
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import generate_uuid, insert_headers

from ...access.authenticator import without_secrets
from ...errors import InternalError, MLServerError, TooLargeError, failure_of
from ...streams import calls
from ...streams.answers import One, is_decoupled
from ...streams.calls import TRITON
from ...streams.deadlines import timeout_seconds, undisturbed, within
from ...streams.finals import with_final
from ...streams.model_registry import UNVERSIONED
from ...streams.turns import in_turns
from ...tensors.json_codec import is_large
from ...tensors.steps import gathered
from ...tensors.wire_format import tag, varint
from ..converters import DecodedRequest, decode, encode_response, named, response_parts
from ..errors import abort, answers_errors, write
from ..servicer import StreamingServicer, metadata_of, return_sequence
from .messages import (
    DATA_TYPES,
    ModelConfig,
    ModelConfigResponse,
    ModelRequest,
    ModelStatistics,
    ModelStatisticsResponse,
    ModelStreamInferResponse,
)

if TYPE_CHECKING:
    from ...watch.statistics import Served
    from ..servicer import Context

FINAL = "triton_final_response"
WANTS_EMPTY_FINAL = "triton_enable_empty_final_response"
# Call metadata that asks for a real status, and so the stream's end, at its first error.
STRICT_ERRORS = "triton_grpc_error"
# Of ModelStreamInferResponse.
INFER_RESPONSE_TAG = tag(2, 2)


class TritonServicer(StreamingServicer):
    """`ModelStreamInfer`, `ModelConfig` and `ModelStatistics` as Triton has them."""

    protocol = TRITON

    async def ModelStreamInfer(self, messages: AsyncIterator[bytes], context: Context) -> None:
        metadata = metadata_of(context)
        strict = metadata.get(STRICT_ERRORS) == "true"
        stream = _TritonStream(self, context, without_secrets(metadata), strict)
        try:
            async with self._open(context, metadata) as call:
                await return_sequence(context, call)
                try:
                    async with asyncio.TaskGroup() as requests:
                        async for message in messages:
                            call.touch()
                            await stream.slots.acquire()
                            requests.create_task(stream.answer(message))
                except BaseExceptionGroup as group:
                    raise group.exceptions[0] from None
        except MLServerError as error:
            await self._refusals.hear_out(messages)
            await abort(context, error)

    @answers_errors
    async def ModelConfig(self, request: Any, context: Context) -> Any:
        model = await self._data_plane.model(request.name, request.version)
        return ModelConfigResponse(config=_config(model))

    @answers_errors
    async def ModelStatistics(self, request: Any, context: Context) -> Any:
        if request.name:
            models = [await self._data_plane.model(request.name, request.version)]
        else:
            models = list(await self._data_plane.models())
        return ModelStatisticsResponse(
            model_stats=[_statistics(model, self._data_plane.served(model)) for model in models]
        )

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        return {
            **super().handlers(),
            "ModelConfig": grpc.unary_unary_rpc_method_handler(
                self.ModelConfig,
                request_deserializer=ModelRequest.FromString,
                response_serializer=ModelConfigResponse.SerializeToString,
            ),
            "ModelStatistics": grpc.unary_unary_rpc_method_handler(
                self.ModelStatistics,
                request_deserializer=ModelRequest.FromString,
                response_serializer=ModelStatisticsResponse.SerializeToString,
            ),
        }


class _TritonStream:
    """One call of `ModelStreamInfer`: its requests are answered beside one another."""

    def __init__(
        self,
        servicer: TritonServicer,
        context: Context,
        headers: dict[str, Any],
        strict: bool,
    ):
        limits = servicer._data_plane.streaming.limits
        self.slots = asyncio.Semaphore(limits.buffered_responses)
        self._servicer = servicer
        self._headers = headers
        self._context = context
        self._strict = strict
        self._writing = asyncio.Lock()

    async def answer(self, message: bytes) -> None:
        """Answer one request; its failure is its own unless the client asked otherwise."""
        try:
            request = await in_turns(decode(message, self._servicer._data_plane.streaming.limits))
            insert_headers(request.payload, dict(self._headers))
            if call := calls.current():
                call.check(request.payload)
            async with within(timeout_seconds(request.payload)):
                await self._respond(request, len(message))
        except MLServerError as error:
            await self._fail(*named(message), error, final=True)
        except Exception:
            name, version, request_id = named(message)
            internal = InternalError(request_id or generate_uuid())
            logger.exception("Triton stream: %s", internal)
            await self._fail(name, version, request_id, internal, final=True)
        finally:
            self.slots.release()

    async def _respond(self, request: DecodedRequest, size: int) -> None:
        name, version, payload = request.model_name, request.model_version, request.payload
        model = await self._servicer._data_plane.model(name, version)
        figures = self._servicer._figures(model)
        figures.received.inc(size)
        responses = self._servicer._data_plane.infer_stream(One(payload), name, version)
        final = False
        async with aclosing(with_final(responses)) as answers:
            async for response, final in answers:
                if error := failure_of(response):
                    await self._fail(name, version, payload.id or "", error, final)
                    continue
                try:
                    figures.sent.inc(await self._send(response, request.raw, final))
                except TooLargeError as too_large:
                    figures.errors.inc()
                    await self._fail(name, version, payload.id or "", too_large, final)
        if not final and _wants_empty_final(payload):
            empty = InferenceResponse.model_construct(
                model_name=name, model_version=version, id=payload.id, outputs=[]
            )
            await self._write(infer_response=encode_response(empty, request.raw, {FINAL: True}))

    async def _fail(
        self, name: str, version: str, request_id: str, error: MLServerError, final: bool
    ) -> None:
        if self._strict:
            if call := calls.current():
                call.failed = True
            raise error
        failed = InferenceResponse.model_construct(
            model_name=name, model_version=version, id=request_id, outputs=[]
        )
        await self._write(
            error_message=str(error),
            infer_response=encode_response(failed, False, {FINAL: final}),
        )

    async def _send(self, response: InferenceResponse, raw: bool, final: bool) -> int:
        """Write a response; the bytes that it has.

        Raises:
            TooLargeError: more than a message may have.
        """
        if not is_large(response):
            message = encode_response(response, raw, {FINAL: final})
            self._servicer.bound.check(len(message))
            await self._write(infer_response=message)
            return len(message)
        # Put together by hand: protobuf would copy it twice more.
        parts = await in_turns(response_parts(response, raw, {FINAL: final}))
        size = sum(map(len, parts))
        self._servicer.bound.check(size)
        await self._write_message(
            await in_turns(gathered([INFER_RESPONSE_TAG + varint(size), *parts]))
        )
        return size

    async def _write(self, **fields: Any) -> None:
        await self._write_message(ModelStreamInferResponse(**fields).SerializeToString())

    async def _write_message(self, message: bytes) -> None:
        async with self._writing:
            with undisturbed():
                await write(self._context, message)
        if call := calls.current():
            call.touch()


def _wants_empty_final(payload: InferenceRequest) -> bool:
    parameters = payload.parameters
    return bool(parameters and (parameters.model_extra or {}).get(WANTS_EMPTY_FINAL))


def _config(model: MLModel) -> Any:
    settings = model.settings
    return ModelConfig(
        name=model.name,
        platform=settings.platform,
        backend="python",
        input=[
            {"name": t.name, "data_type": DATA_TYPES[str(t.datatype)], "dims": t.shape}
            for t in model.inputs or []
        ],
        output=[
            {"name": t.name, "data_type": DATA_TYPES[str(t.datatype)], "dims": t.shape}
            for t in model.outputs or []
        ],
        model_transaction_policy={"decoupled": is_decoupled(model)},
    )


def _statistics(model: MLModel, seen: Served) -> Any:
    return ModelStatistics(
        name=model.name,
        version=model.version or UNVERSIONED,
        last_inference=seen.last_ms,
        inference_count=seen.successes,
        execution_count=seen.successes,
        inference_stats={
            "success": {"count": seen.successes, "ns": seen.success_ns},
            "fail": {"count": seen.failures, "ns": seen.failure_ns},
        },
    )
