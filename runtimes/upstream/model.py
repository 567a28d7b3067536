"""UpstreamModel: a model that another Open Inference server serves, behind ours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelMetadataResponseConverter
from mlserver.logging import logger
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse
from mlserver.utils import to_absolute_path

from mlserver_streaming.models.errors import MLServerError
from mlserver_streaming.models.parameters import number
from mlserver_streaming.models.streaming_model import StreamingModel

from .channel import UpstreamAddress, UpstreamChannel, UpstreamSettingsError
from .stream import Answer, UpstreamStream
from .wire import Dialect, decode_reply, encode_request

DEFAULT_TIMEOUT = 30.0
MAX_TIMEOUT = 86_400.0
MICROSECONDS = 1_000_000
METADATA_TIMEOUT = 2.0


class UpstreamModel(StreamingModel):
    """Passes requests on to a model of another Open Inference server (Triton, MLServer) and its
    responses back, unary or streamed, tensors untouched. Sequences are the upstream's own.

    `parameters.uri`: grpc://host:port, or grpcs:// for TLS. Request parameter `timeout`:
    microseconds until a request's first response, as Triton counts (setting `timeout`: 30 s).

    Settings: `model` (this model's own name) and `model_version` there; `dialect` of streams:
    "auto" (told by the first reply), "triton" or "mlserver"; `headers`, an object, in which ${NAME}
    is a variable of the environment, for keys; for TLS `root_certificates`, `certificate_chain`
    and `private_key` (PEM files, relative to the settings) and `server_name`.
    """

    async def load(self) -> bool:
        parameters = self.settings.parameters
        uri = (parameters.uri if parameters else None) or ""
        folder = Path(to_absolute_path(self.settings, "."))
        self._upstream_model = str(self.setting("model", self.name))
        self._upstream_version = str(self.setting("model_version", ""))
        self._timeout = float(self.setting("timeout", DEFAULT_TIMEOUT))
        dialect = self.setting("dialect", Dialect.AUTO.value)
        if dialect not in list(Dialect):
            raise UpstreamSettingsError(
                f"dialect must be one of {', '.join(Dialect)}, not {dialect!r}."
            )
        self._dialect = Dialect(dialect)
        self._channel = UpstreamChannel(UpstreamAddress.read(uri, self.setting, folder))
        logger.info(
            "Model '%s' is '%s' of %s",
            self.name,
            self._upstream_model,
            self._channel.address.target,
        )
        return True

    async def unload(self) -> bool:
        await super().unload()
        await self._channel.close()
        return True

    async def metadata(self) -> MetadataModelResponse:
        """What the upstream says of its model, under our name; what the settings say while it is
        away, or says what cannot be said here."""
        request = pb.ModelMetadataRequest(
            name=self._upstream_model, version=self._upstream_version
        ).SerializeToString()
        try:
            reply = await self._channel.metadata(request, METADATA_TIMEOUT)
            found = ModelMetadataResponseConverter.to_types(
                pb.ModelMetadataResponse.FromString(reply)
            )
        except (MLServerError, DecodeError, ValueError):
            # The last: it has a tensor of BF16, which MLServer's types do not name.
            return await super().metadata()
        found.name = self.name
        return found

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        timeout = self._timeout_of(payload)
        message = self._encode(payload, doubles=self._dialect is Dialect.TRITON)
        reply = await self._channel.infer(message, timeout)
        return self._response(payload.id or "", decode_reply(reply))

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        stream = UpstreamStream(self._channel, self._upstream_model, self._dialect)

        async def send() -> None:
            async for request in payloads:
                request_id = request.id or ""
                try:
                    timeout = self._timeout_of(request)
                    message = self._encode(request, doubles=stream.speaks_triton)
                except MLServerError as error:
                    await stream.refuse(request_id, error)
                    continue
                await stream.send(request_id, timeout, message)
            await stream.end()

        sending = asyncio.create_task(send())
        try:
            async with aclosing(stream.answers(sending)) as answers:
                async for request_id, answer in answers:
                    yield self._response(request_id, answer)
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await stream.close()

    def _timeout_of(self, request: InferenceRequest) -> float:
        usual = self._timeout * MICROSECONDS
        return number(request, "timeout", usual, 1, MAX_TIMEOUT * MICROSECONDS) / MICROSECONDS

    def _encode(self, request: InferenceRequest, *, doubles: bool) -> bytes:
        return encode_request(
            request, self._upstream_model, self._upstream_version, doubles=doubles
        )

    def _response(self, request_id: str, answer: Answer) -> InferenceResponse:
        request = InferenceRequest.model_construct(id=request_id, inputs=[])
        if isinstance(answer, MLServerError):
            return self.failure(request, answer)
        if answer.error is not None:
            return self.failure(request, MLServerError(answer.error, 502))
        return self.response(request, answer.outputs, **answer.parameters)
