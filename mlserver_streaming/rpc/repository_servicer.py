"""MLServer's older gRPC service for the model repository, its errors with our statuses."""

from __future__ import annotations

from typing import Any

from mlserver.grpc import model_repository_pb2 as pb
from mlserver.grpc.model_repository import ModelRepositoryServicer

from .errors import answers_errors


class RepositoryServicer(ModelRepositoryServicer):
    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        return with_plain_states(await super().RepositoryIndex(request, context))

    @answers_errors
    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:
        await self._handlers.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    @answers_errors
    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:
        await self._handlers.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()


def with_plain_states(index: Any) -> Any:
    """A repository's index, its states as the protocol names them. MLServer writes `State.READY`,
    Python's name."""
    for item in index.models:
        item.state = item.state.removeprefix("State.")
    return index
