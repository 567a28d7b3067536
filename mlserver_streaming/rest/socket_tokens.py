"""`POST /v2/tokens`: a key buys a token that opens one socket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..access.callers import current
from ..access.socket_tokens import new_token
from ..errors import BadRequestError
from ..streams.data_plane import StreamingDataPlane
from ..tensors.json_requests import parse_json
from .body import read_body

PATH = "/v2/tokens"
# How long one may wait to be used; the socket that it opens may last longer.
LEAST_SECONDS, MOST_SECONDS, USUAL_SECONDS = 1, 300, 60
MAX_BODY_BYTES = 4096


class SocketTokenEndpoint:
    """Where there are no keys, a token opens nothing that is not open; pages need not know."""

    def __init__(self, data_plane: StreamingDataPlane):
        self._data_plane = data_plane

    def routes(self) -> list[Route]:
        return [Route(PATH, self.make, methods=["POST"], include_in_schema=False)]

    async def make(self, request: Request) -> Response:
        asked = parse_json(await read_body(request, MAX_BODY_BYTES), "'model'")
        model, seconds = asked.get("model"), asked.get("seconds", USUAL_SECONDS)
        if not isinstance(model, str) or not model:
            raise BadRequestError("'model' must be the name of the model that the token is for.")
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            raise BadRequestError(
                f"'seconds' must be a number from {LEAST_SECONDS} to {MOST_SECONDS}."
            )
        # A token for what is not there would only fail later.
        await self._data_plane.model(model)
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        authenticator = self._data_plane.authenticator
        # Where no token is asked for, none is kept.
        tokens = authenticator.socket_tokens if authenticator.enabled else None
        found = {
            "token": tokens.make(current(), model, seconds) if tokens else new_token(),
            "expires": expires.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        return Response(
            orjson.dumps(found),
            headers={"Cache-Control": "no-store"},
            media_type="application/json",
        )
