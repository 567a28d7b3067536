"""The repository's index. MLServer demands a body; Triton's clients, and people, send none."""

import orjson
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.types import RepositoryIndexRequest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import BadRequestError
from ..tensors.json_requests import parse_json
from .body import read_body

INDEX = "/v2/repository/index"
# The only thing that can be asked is {"ready": true}.
MAX_BODY_BYTES = 16 * 1024


class RepositoryEndpoints:
    """`/v2/repository/index`; loading and unloading stay MLServer's."""

    def __init__(self, handlers: ModelRepositoryHandlers):
        self._handlers = handlers

    def routes(self) -> list[Route]:
        return [Route(INDEX, self.index, methods=["POST"], include_in_schema=False)]

    async def index(self, request: Request) -> Response:
        body = await read_body(request, MAX_BODY_BYTES)
        try:
            payload = RepositoryIndexRequest.model_validate(parse_json(body) if body else {})
        except ValidationError as error:
            raise BadRequestError("Field 'ready' must be true or false.") from error
        found = await self._handlers.index(payload)
        models = [model.model_dump(mode="json", exclude_none=True) for model in found.root]
        return Response(orjson.dumps(models), media_type="application/json")
