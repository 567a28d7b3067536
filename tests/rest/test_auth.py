"""The REST edge's door, without a server: it opens, or answers before anything is read."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mlserver_streaming.access.authenticator import Authenticator
from mlserver_streaming.access.callers import current
from mlserver_streaming.access.keys_file import digest
from mlserver_streaming.rest.auth import protect
from mlserver_streaming.settings import AuthSettings

ORIGIN = {"Origin": "https://here.example"}


async def caller(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse(current().name)


@pytest.fixture
def app(tmp_path: Path) -> Starlette:
    keys = [
        {"name": "user", "sha256": digest("sesame").hex(), "roles": ["infer"]},
        {
            "name": "cam",
            "sha256": digest("camera").hex(),
            "roles": ["infer"],
            "models": ["m"],
        },
    ]
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    app = Starlette(
        routes=[Route("/{path:path}", caller, methods=["GET", "POST"])],
        middleware=[
            Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["POST"]),
            Middleware(GZipMiddleware),
        ],
    )
    protect(app, Authenticator(AuthSettings(keys_file="keys.json"), str(tmp_path)))
    return app


def client(app: Starlette, root_path: str = "") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, root_path=root_path)
    return httpx.AsyncClient(transport=transport, base_url="http://here")


async def test_a_key_opens(app: Starlette) -> None:
    async with client(app) as http:
        answer = await http.post("/v2/models/m/infer", headers={"x-api-key": "sesame"})
        assert (answer.status_code, answer.json()) == (200, "user")
        answer = await http.get("/v2", headers={"authorization": "Bearer sesame"})
        assert (answer.status_code, answer.json()) == (200, "user")


@pytest.mark.parametrize("path", ["/v2", "/", "/v2/models/m/infer", "/v2/docs", "/nowhere"])
@pytest.mark.parametrize("key", [None, "wrong"])
async def test_without_one_it_stays_shut(app: Starlette, path: str, key: str | None) -> None:
    headers = ORIGIN | ({} if key is None else {"x-api-key": key})
    async with client(app) as http:
        for method in ("GET", "POST", "OPTIONS", "HEAD"):
            answer = await http.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            # A browser's page can read the answer.
            assert answer.headers["access-control-allow-origin"] == "*"
            assert method == "HEAD" or list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("path", "open_"),
    [
        ("/v2/health/live", True),
        ("/v2/health/ready", True),
        ("/v2/health/ready/", False),
        ("//v2/health/live", False),
        ("/v2/health/live/../../models/m", False),
        ("/v2/health", False),
        ("/x/v2/health/live", False),
    ],
)
async def test_probes_need_none(app: Starlette, path: str, open_: bool) -> None:
    async with client(app) as http:
        assert ((await http.get(path)).status_code == 200) is open_


async def test_probes_need_none_below_a_root_path(app: Starlette) -> None:
    async with client(app, root_path="/service") as http:
        assert (await http.get("/service/v2/health/live")).status_code == 200
        assert (await http.get("/service/v2")).status_code == 401
        headers = {"x-api-key": "camera"}
        assert (await http.get("/service/v2/models/m", headers=headers)).status_code == 200
        assert (await http.get("/service/v2/models/n", headers=headers)).status_code == 403


async def test_preflights_need_none(app: Starlette) -> None:
    asked = {"Access-Control-Request-Method": "POST"}
    async with client(app) as http:
        answer = await http.options("/v2/models/m/infer", headers=ORIGIN | asked)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2", 200),
        ("/v2/docs", 200),
        ("/v2/models/m", 200),
        ("/v2/models/m/versions/1/infer", 200),
        ("/v2/models/n", 403),
        ("/v2/models/n/infer_stream", 403),
        ("/v2/models/m2/ready", 403),
        ("/v2/models/", 403),
        ("/of-a-runtime", 403),
    ],
)
async def test_a_key_for_some_models(app: Starlette, path: str, status: int) -> None:
    async with client(app) as http:
        answer = await http.get(path, headers={"x-api-key": "camera"})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"].startswith("'cam' may")
        assert "www-authenticate" not in answer.headers


async def test_it_is_refused_before_its_body_is_read(app: Starlette) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v2/models/m/infer", "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == 401


async def test_without_keys_there_is_no_door() -> None:
    app = Starlette()
    protect(app, Authenticator(AuthSettings()))
    assert not app.user_middleware
