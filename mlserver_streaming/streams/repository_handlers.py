"""MLServer's repository calls, of both edges, for those who may make them."""

from __future__ import annotations

from mlserver.handlers import ModelRepositoryHandlers
from mlserver.types import RepositoryIndexRequest, RepositoryIndexResponse

from ..access.callers import ADMIN, authorise, current, require


class GuardedRepositoryHandlers(ModelRepositoryHandlers):
    """Loading and unloading need the role `admin`; a caller sees and moves its own models only."""

    async def index(self, payload: RepositoryIndexRequest) -> RepositoryIndexResponse:
        found = await super().index(payload)
        caller = current()
        return RepositoryIndexResponse([each for each in found.root if caller.may_use(each.name)])

    async def load(self, name: str) -> bool:
        require(ADMIN)
        authorise(name)
        return await super().load(name)

    async def unload(self, name: str) -> bool:
        require(ADMIN)
        authorise(name)
        return await super().unload(name)
