"""MLServer's repository calls, of both edges, for those who may make them; each leaves a line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter

from mlserver.handlers import ModelRepositoryHandlers
from mlserver.types import RepositoryIndexRequest, RepositoryIndexResponse

from ..access.callers import ADMIN, authorise, current, require
from ..errors import MLServerError
from ..watch.stream_log import log_repository


class GuardedRepositoryHandlers(ModelRepositoryHandlers):
    """Loading and unloading need the role `admin`; a caller sees and moves its own models only."""

    async def index(self, payload: RepositoryIndexRequest) -> RepositoryIndexResponse:
        found = await super().index(payload)
        caller = current()
        return RepositoryIndexResponse([each for each in found.root if caller.may_use(each.name)])

    async def load(self, name: str) -> bool:
        return await _moved("load", name, super().load)

    async def unload(self, name: str) -> bool:
        return await _moved("unload", name, super().unload)


async def _moved(call: str, name: str, move: Callable[[str], Awaitable[bool]]) -> bool:
    """Load or unload a model for an admin, and say so in the log, also where it is refused.

    Raises:
        ForbiddenError: the caller may not.
        whatever `move` raises.
    """
    result, begun = "cancelled", perf_counter()
    try:
        require(ADMIN)
        authorise(name)
        done = await move(name)
        result = f"{call}ed"
        return done
    except MLServerError as error:
        result = str(error.status_code)
        raise
    except Exception:
        result = "500"
        raise
    finally:
        log_repository(call, name, current().name, result, round(perf_counter() - begun, 6))
