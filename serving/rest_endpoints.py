"""The inference calls of the REST edge: bytes in, a response that knows how to send itself out."""

from collections.abc import AsyncIterator
from typing import Any

from mlserver.types import InferenceRequest
from mlserver.utils import extract_headers, insert_headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .data_plane import StreamingDataPlane
from .hang_up import stop_on_hang_up
from .rest_body import read_body
from .rest_codec import decode_request, encode_response, parse_json
from .sse import EventStreamResponse

UNARY_CALLS = ("infer", "generate")
STREAM_CALLS = ("infer_stream", "generate_stream")
# What a client that has gone is answered, for the access log only: nginx's code for it.
CLIENT_CLOSED_REQUEST = 499


class InferenceEndpoints:
    """`infer`, `generate`, `infer_stream`, `generate_stream`, each with and without a version."""

    def __init__(self, data_plane: StreamingDataPlane, gzip: bool):
        self._data_plane = data_plane
        self._gzip = gzip

    def routes(self) -> list[Route]:
        calls = {name: self.infer for name in UNARY_CALLS}
        calls |= {name: self.infer_stream for name in STREAM_CALLS}
        return [
            Route(f"{base}/{name}", endpoint, methods=["POST"], include_in_schema=False)
            for name, endpoint in calls.items()
            for base in (
                "/v2/models/{model_name}",
                "/v2/models/{model_name}/versions/{model_version}",
            )
        ]

    async def infer(self, request: Request) -> Response:
        name, version = _model(request)
        await self._data_plane.model(name, version)
        payload = await _payload(request)
        with stop_on_hang_up(request.receive):
            response = await self._data_plane.infer(payload, name, version)
            headers: dict[str, Any] = extract_headers(response) or {}
            return Response(
                encode_response(response), media_type="application/json", headers=headers
            )
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    async def infer_stream(self, request: Request) -> Response:
        name, version = _model(request)
        # Before the body is read: an unknown model is not worth its bytes.
        await self._data_plane.model(name, version)
        payload = await _payload(request)
        streaming = self._data_plane.streaming
        return EventStreamResponse(
            self._data_plane.infer_stream(_one(payload), name, version),
            grace=streaming.first_response_grace_seconds,
            keepalive=streaming.keepalive_seconds,
            gzip=self._gzip and _accepts_gzip(request),
        )


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["model_name"], request.path_params.get("model_version")


async def _payload(request: Request) -> InferenceRequest:
    payload = decode_request(parse_json(await read_body(request)))
    insert_headers(payload, dict(request.headers))
    return payload


def _accepts_gzip(request: Request) -> bool:
    for coding in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, quality = coding.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def _one(payload: InferenceRequest) -> AsyncIterator[InferenceRequest]:
    yield payload
