"""Bodies of many requests whose streams outlive their connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse
from starlette.applications import Starlette

from mlserver_streaming.errors import MovedError
from mlserver_streaming.rest.endpoints import InferenceEndpoints
from mlserver_streaming.rest.kept_streams import KeptStreams
from mlserver_streaming.rest.resumable_events import COME_BACK
from mlserver_streaming.rest.server import EXCEPTION_HANDLERS
from tests.streams.planes import answer, asked, plane_of

AT = "/v2/models/m/infer_stream"
LINES = {"content-type": "application/x-ndjson"}
NOT_NOW = {"prefer": "respond-async"}


class MovesOn(MLModel):
    """Says one word; then its instance stops, where it is told so."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            given: Any = asked(request)
            yield answer("said")
            if given in ("moves", b"moves"):
                await asyncio.sleep(0)
                raise MovedError


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with plane_of(tmp_path, {"m": MovesOn}) as plane:
        routes = InferenceEndpoints(plane, False, KeptStreams(plane, False)).routes()
        app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
            yield opened


def line(id: str, text: str = "stays", **parameters: Any) -> str:
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
    return json.dumps({"id": id, "inputs": [tensor], "parameters": parameters}) + "\n"


async def test_one_that_moves_on_says_when_to_come_back(client: httpx.AsyncClient):
    found = await client.post(AT, content=line("1", "moves", resumable=True), headers=LINES)
    first, *rest = found.text.split("\n\n")
    assert first.startswith("id: ")
    assert "\n\n".join(rest) == COME_BACK.decode()
    as_lines = {**LINES, "accept": LINES["content-type"]}
    found = await client.post(AT, content=line("1", "moves", resumable=True), headers=as_lines)
    assert json.loads(found.text.splitlines()[-1])["parameters"]["error_code"] == 503


async def test_of_several_the_one_that_moves_on_is_named(client: httpx.AsyncClient):
    own = {"resumable": True, "timeout": 60_000_000}
    sent = line("1", "moves", **own) + line("2", **own)
    events = (await client.post(AT, content=sent, headers=LINES)).text.split("\n\n")
    [moved] = [each for each in events if "goes on elsewhere" in each]
    retry, data = moved.split("\n")
    assert retry == "retry: 1000"
    assert json.loads(data.removeprefix("data: "))["id"] == "1"
    assert sum(each.startswith("id: ") for each in events) == 2


async def test_who_would_rather_not_listen_now_is_told_that_he_has_to(client: httpx.AsyncClient):
    sent = line("1", resumable=True) + line("2")
    refused = await client.post(AT, content=sent, headers=LINES | NOT_NOW)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("'Prefer: respond-async' is for a body that is one")
    # One whose stream is not kept has never had another answer.
    found = await client.post(AT, content=line("1"), headers=LINES | NOT_NOW)
    assert found.status_code == 200
