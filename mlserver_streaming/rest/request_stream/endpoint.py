"""`infer_stream` and `generate_stream` with a body of many requests."""

from __future__ import annotations

from functools import partial

import orjson
from starlette.requests import Request
from starlette.types import Send

from ...access.authenticator import without_secrets
from ...errors import BadRequestError, MLServerError
from ...streams.calls import NDJSON
from ...streams.data_plane import StreamingDataPlane
from ..accepting import accepts_gzip, framing_for
from ..binary import HEADER
from ..kept_streams import wants_no_answer
from ..shared_memory import regions_of
from ..written_events import WrittenEventsResponse
from .call import StreamedRequests
from .coming import Coming, SplitterMaker
from .reading import Reader


class RequestStreamEndpoint:
    """Answers a call; its model is in the path."""

    def __init__(self, data_plane: StreamingDataPlane, gzip: bool):
        self._data_plane = data_plane
        self._gzip = gzip

    async def __call__(self, request: Request, send: Send, splitter: SplitterMaker) -> None:
        """
        Raises:
            MLServerError: before anything is sent.
        """
        plane, streaming = self._data_plane, self._data_plane.streaming
        named = request.path_params["model_name"], request.path_params.get("model_version")
        events: WrittenEventsResponse | None = None
        try:
            async with plane.calls.open(NDJSON, request.headers) as call:
                # Before the body is read: an unknown model is not worth its bytes.
                model = await plane.model(*named)
                if request.headers.get(HEADER) is not None:
                    raise BadRequestError(
                        f"{HEADER} is for a body that is one request; leave it out, and send the "
                        "data of all tensors in the JSON."
                    )
                sent = plane.metrics.of(model.name, model.version, NDJSON).sent
                framing = framing_for(request)
                coming = Coming(request, splitter(streaming.limits.request_bytes), call.touch)

                def touch(size: int) -> None:
                    call.touch()
                    sent.inc(size)

                requests = StreamedRequests(
                    plane,
                    call,
                    model,
                    coming,
                    Reader(
                        model,
                        named[1],
                        streaming.limits,
                        may_be_flat=request.scope["path"].endswith("/generate_stream"),
                    ),
                    partial(regions_of, plane.regions, request),
                    without_secrets(request.headers),
                    framing,
                    wants_no_answer(request),
                )
                events = WrittenEventsResponse(
                    requests.events(),
                    lambda error: framing.error % orjson.dumps({"error": str(error)}),
                    grace=streaming.first_response_grace_seconds,
                    keepalive=streaming.keepalive_seconds,
                    gzip=self._gzip and accepts_gzip(request),
                    touch=touch,
                    headers=call.returned,
                    framing=framing,
                )
                await events.run(request.scope, coming.receive, send)
        except MLServerError as error:
            if events is None:
                raise
            await events.end_with(error, request.scope)
