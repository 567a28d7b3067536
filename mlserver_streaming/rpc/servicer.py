"""inference.GRPCInferenceService as MLServer defines it, streams and errors as WIRE.md has them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import grpc
from mlserver import MLModel
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelMetadataResponseConverter
from mlserver.grpc.servicers import InferenceServicer
from mlserver.types import InferenceResponse

from ..access.authenticator import without_secrets
from ..errors import MLServerError, UnsupportedError
from ..models.messages import put_headers
from ..regions.regions import Own
from ..resume.position import Position
from ..resume.runs import Runs
from ..streams.calls import GRPC, NO_SLOT, REQUEST_ID, Call, fit_id
from ..streams.data_plane import StreamingDataPlane
from ..streams.repository_handlers import GuardedRepositoryHandlers
from ..streams.substreams import Substreams
from ..streams.turns import in_turns
from ..tensors.json_codec import is_large
from ..watch.metrics import Figures
from . import own_streams
from .errors import abort, answers_errors, write
from .management import ManagementServicer, values_of
from .metadata import metadata_of, return_sequence, send_headers
from .refusals import Refusals
from .repository_servicer import with_plain_states
from .requests import decode, named
from .responses import encode_response
from .shared_memory import SharedMemoryServicer, regions_of
from .triton.messages import CLASSES
from .wire import Wire, encoded

SERVICE = "inference.GRPCInferenceService"
# Requests of which MLServer's protobuf does not know the parameters.
READ_BY_US = {
    f"RepositoryModel{call}": CLASSES["RepositoryModelRequest"] for call in ("Load", "Unload")
}

if TYPE_CHECKING:
    from .metadata import Context


class StreamingServicer(InferenceServicer):
    """`ModelInfer` and `ModelStreamInfer` take and give serialised messages (see `handlers`)."""

    protocol = GRPC
    _data_plane: StreamingDataPlane
    _model_repository_handlers: GuardedRepositoryHandlers

    def __init__(self, data_plane: Any, model_repository_handlers: Any):
        super().__init__(data_plane, model_repository_handlers)
        self._refusals = Refusals()
        self.bound = data_plane.grpc_bound

    @answers_errors
    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> Any:
        ready = await self._data_plane.model_ready(request.name, request.version or None)
        return pb.ModelReadyResponse(ready=ready)

    @answers_errors
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> Any:
        metadata = await self._data_plane.model_metadata(request.name, request.version or None)
        return ModelMetadataResponseConverter.from_types(metadata)

    @answers_errors
    async def ModelInfer(self, message: bytes, context: Context) -> bytes:
        metadata = metadata_of(context)
        async with self._open(context, metadata) as call:
            came, begun = asyncio.get_running_loop().time(), perf_counter_ns()
            limits = self._data_plane.streaming.limits
            request = await in_turns(decode(message, limits, self._own(context)))
            put_headers(request.payload, without_secrets(metadata))
            call.take(request.payload, came)
            await return_sequence(context, call)
            model = await self._data_plane.model(request.model_name, request.model_version)
            figures = self._figures(model)
            figures.received.inc(len(message))
            served = self._data_plane.served(model)
            served.input_ns += perf_counter_ns() - begun
            response = await self._data_plane.answer(request.payload, model)
            send_headers(self._data_plane.metadata_to(response, model), context, call)
            begun = perf_counter_ns()
            if is_large(response):
                reply = await in_turns(encoded(response, request.raw, self.bound))
            else:
                reply = encode_response(response, request.raw)
                self.bound.check(len(reply))
            served.output_ns += perf_counter_ns() - begun
            figures.sent.inc(len(reply))
            return reply

    async def ModelStreamInfer(self, messages: AsyncIterator[bytes], context: Context) -> None:
        try:
            metadata = metadata_of(context)
            if (place := metadata.get(own_streams.RESUME)) is not None:
                await self._read_on(place, messages, context, metadata)
                return
            if own_streams.is_wanted(metadata):
                await self._tell_of_streams(messages, context, metadata)
                return
            async with self._open(context, metadata) as call:
                await self._stream(messages, context, call, without_secrets(metadata))
        except MLServerError as error:
            await self._refusals.hear_out(messages, context)
            await abort(context, error)

    async def _stream(
        self,
        messages: AsyncIterator[bytes],
        context: Context,
        call: Call,
        headers: dict[str, Any],
    ) -> None:
        own = self._own(context)
        await return_sequence(context, call)
        async with self._substreams(context, call) as models:
            async for message in messages:
                call.touch()
                await self._route(message, models, headers, call, own)

    def _substreams(self, context: Context, call: Call) -> Substreams:
        wire = Wire(self._data_plane, context, call, self._figures)
        return Substreams(self._data_plane, wire)

    async def _read_on(
        self,
        place: Any,
        messages: AsyncIterator[bytes],
        context: Context,
        metadata: dict[str, Any],
    ) -> None:
        """Answer one who comes back to a stream."""
        position = Position.read(str(place))
        run = await self._runs().find(position.stream)
        async with (
            self._open(context, metadata, NO_SLOT) as call,
            own_streams.without_requests(messages) as asking,
        ):
            reader = await self._runs().resume(position)
            try:
                async with self._substreams(context, call) as models:
                    models.read_on(reader.with_ids(), bool(run.head.form.get("raw")))
                    await asking
            finally:
                # Where it has not begun, too.
                reader.leave()

    async def _tell_of_streams(
        self, messages: AsyncIterator[bytes], context: Context, metadata: dict[str, Any]
    ) -> None:
        """Answer a call about its caller's streams."""
        async with (
            self._open(context, metadata, NO_SLOT),
            own_streams.without_requests(messages),
        ):
            runs = self._runs()
            if (stream := metadata.get(own_streams.CANCEL)) is not None:
                await own_streams.cancel(runs, str(stream))
                return
            own = await runs.own()
            if not own.is_whole:
                context.set_trailing_metadata(own_streams.PARTIAL)
            for run in own.streams:
                await write(context, self._about_stream(own_streams.about(run)))

    def _about_stream(self, response: InferenceResponse) -> bytes:
        return encode_response(response, False)

    def _runs(self) -> Runs:
        found: Runs | None = self._data_plane.resume
        if found is None:
            raise UnsupportedError("No streams are kept here.")
        return found

    def _open(
        self,
        context: Context,
        metadata: dict[str, Any],
        slot: AbstractAsyncContextManager[None] | None = None,
    ) -> AbstractAsyncContextManager[Call]:
        if request_id := fit_id(metadata.get(REQUEST_ID)):
            context.set_trailing_metadata(((REQUEST_ID, request_id),))
        return self._data_plane.calls.open(self.protocol, metadata, context.time_remaining(), slot)

    def _own(self, context: Context) -> Own:
        """The regions of a call's caller."""
        return functools.partial(regions_of, self._data_plane.regions, context)

    def _figures(self, model: MLModel) -> Figures:
        return self._data_plane.metrics.of(model.name, model.version, self.protocol)

    async def _route(
        self,
        message: bytes,
        models: Substreams,
        headers: dict[str, Any],
        call: Call,
        own: Own,
    ) -> None:
        begun = perf_counter_ns()
        try:
            request = await in_turns(decode(message, self._data_plane.streaming.limits, own))
            put_headers(request.payload, dict(headers))
            call.check(request.payload)
            read_ns = perf_counter_ns() - begun
        except MLServerError as error:
            models.count()
            name, _, request_id = named(message)
            await models.fail(name, request_id, error)
        else:
            model = await models.put(request)
            if model is not None:
                self._figures(model).received.inc(len(message))
                self._data_plane.served(model).input_ns += read_ns

    @answers_errors
    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> Any:
        return with_plain_states(await super().RepositoryIndex(request, context))

    @answers_errors
    async def RepositoryModelLoad(self, request: Any, context: Context) -> Any:
        parameters = values_of(request.parameters)
        await self._model_repository_handlers.load(request.model_name, parameters)
        return pb.RepositoryModelLoadResponse()

    @answers_errors
    async def RepositoryModelUnload(self, request: Any, context: Context) -> Any:
        parameters = values_of(request.parameters)
        await self._model_repository_handlers.unload(request.model_name, parameters)
        return pb.RepositoryModelUnloadResponse()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The service's methods. The two that carry tensors get the bytes as they came, so that
        tensors need not be copied out of a protobuf."""
        found: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self.ModelInfer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self.ModelStreamInfer),
            **ManagementServicer(self._data_plane.management).handlers(),
            **SharedMemoryServicer(self._data_plane.regions).handlers(),
        }
        for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
            if method.name not in found:
                asked = READ_BY_US.get(method.name) or getattr(pb, method.input_type.name)
                found[method.name] = grpc.unary_unary_rpc_method_handler(
                    getattr(self, method.name),
                    request_deserializer=asked.FromString,
                    response_serializer=getattr(pb, method.output_type.name).SerializeToString,
                )
        return found
