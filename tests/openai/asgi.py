"""OpenAI's routes as an ASGI app in this process, over a real data plane."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
from mlserver import MLModel
from mlserver.settings import Settings
from starlette.applications import Starlette

from mlserver_streaming.openai import OpenAIDialect
from mlserver_streaming.rest.kept_streams import KeptStreams
from mlserver_streaming.rest.server import EXCEPTION_HANDLERS
from mlserver_streaming.resume.runs import Runs
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from tests.streams.planes import plane_of


def app_of(plane: StreamingDataPlane) -> Starlette:
    """The routes, and those of kept streams."""
    dialect = OpenAIDialect(plane, Settings(gzip_enabled=False), "/v1")
    routes = [*KeptStreams(plane, False, [dialect]).routes(), *dialect.routes()]
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
    app.state.dialects = (dialect,)
    return app


class Asked:
    """The app, asked.

    Attributes:
        runs: what it keeps.
    """

    def __init__(self, plane: StreamingDataPlane) -> None:
        self.plane = plane
        self.runs: Runs = plane.resume
        self.app = app_of(plane)

    async def __call__(
        self, method: str, at: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        """The whole answer."""
        transport = httpx.ASGITransport(self.app)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, at, json=body, headers=named)

    async def cut(
        self, method: str, at: str, count: int, body: Any = None, **headers: str
    ) -> list[str]:
        """So many events of an answer, and then the client hangs up."""
        path, _, query = at.partition("?")
        scope: Any = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()],
        }
        waiting = [{"type": "http.request", "body": b"" if body is None else orjson.dumps(body)}]
        got, gone = "", asyncio.Event()

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal got
            assert message.get("status", 200) == 200
            got += message.get("body", b"").decode()
            if got.count("\n\n") >= count:
                gone.set()

        async with asyncio.timeout(20):
            await self.app(scope, receive, send)
        return split(got)[:count]


@asynccontextmanager
async def serving(
    root: Path,
    model: type[MLModel],
    extra: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    **resume: Any,
) -> AsyncIterator[Asked]:
    """The routes over one model, `m`."""
    block = {"resume": resume, "limits": limits or {}}
    (root / "settings.json").write_bytes(orjson.dumps({"streaming": block}))
    async with plane_of(root, {"m": model}, extra=extra) as plane:
        yield Asked(plane)


def split(text: str) -> list[str]:
    """The events, with their ends."""
    return [event + "\n\n" for event in text.split("\n\n")[:-1]]


def data(event: str) -> Any:
    """What an event says."""
    found = next(line for line in event.split("\n") if line.startswith("data: "))
    return json.loads(found.removeprefix("data: "))


def id_of(event: str) -> str:
    return event.partition("\n")[0].removeprefix("id: ")
