"""The repository's calls. MLServer demands a body of the index, which Triton's clients, and people,
do not send, and looks at none of the others, which may say how a model is to be loaded."""

from collections.abc import Mapping
from typing import Any

import orjson
from mlserver.types import RepositoryIndexRequest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import BadRequestError
from ..streams.repository_handlers import GuardedRepositoryHandlers
from ..tensors.json_requests import parse_json
from .body import read_body

INDEX = "/v2/repository/index"
MODEL = "/v2/repository/models/{model_name}"
# The only thing that can be asked is {"ready": true}.
MAX_BODY_BYTES = 16 * 1024
# What a load may change: a model's configuration.
MAX_LOAD_BYTES = 1024 * 1024


class RepositoryEndpoints:
    """`/v2/repository/index`, and each model's `load` and `unload`."""

    def __init__(self, handlers: GuardedRepositoryHandlers):
        self._handlers = handlers

    def routes(self) -> list[Route]:
        return [
            Route(path, call, methods=["POST"], include_in_schema=False)
            for path, call in (
                (INDEX, self.index),
                (f"{MODEL}/load", self.load),
                (f"{MODEL}/unload", self.unload),
            )
        ]

    async def load(self, request: Request) -> Response:
        await self._handlers.load(request.path_params["model_name"], await _parameters(request))
        return Response()

    async def unload(self, request: Request) -> Response:
        await self._handlers.unload(request.path_params["model_name"], await _parameters(request))
        return Response()

    async def index(self, request: Request) -> Response:
        body = await read_body(request, MAX_BODY_BYTES)
        try:
            payload = RepositoryIndexRequest.model_validate(
                parse_json(body, "'ready'") if body else {}
            )
        except ValidationError as error:
            raise BadRequestError("Field 'ready' must be true or false.") from error
        found = await self._handlers.index(payload)
        models = [model.model_dump(mode="json", exclude_none=True) for model in found.root]
        return Response(orjson.dumps(models), media_type="application/json")


async def _parameters(request: Request) -> Mapping[str, Any]:
    """What a load or unload says besides its model; MLServer's clients send no body."""
    body = await read_body(request, MAX_LOAD_BYTES)
    found = parse_json(body, "'parameters'").get("parameters") if body else None
    if found is not None and not isinstance(found, dict):
        raise BadRequestError("Field 'parameters' must be a JSON object.")
    return found or {}
