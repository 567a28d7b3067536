"""Who may open a WebSocket: pages by their origins, browsers by tokens, all others by keys."""

import json

import pytest
from mlserver.settings import CORSSettings
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import WebSocketRoute

from mlserver_streaming.access.authenticator import Authenticator, without_secrets
from mlserver_streaming.access.callers import INFER, Caller, current
from mlserver_streaming.access.keys_file import digest
from mlserver_streaming.rest.auth import protect, token_of
from mlserver_streaming.rest.origins import check_origins, is_same
from mlserver_streaming.settings import AuthSettings

PATH = "/v2/models/m/stream"
KEY = {"x-api-key": "sesame"}


@pytest.fixture
def door(tmp_path):
    key = {"name": "user", "sha256": digest("sesame").hex(), "roles": ["infer"]}
    (tmp_path / "keys.json").write_text(json.dumps([key]))
    return Authenticator(AuthSettings(keys_file="keys.json"), str(tmp_path))


def app(door, cors=None):
    async def serve(socket):
        await socket.accept()
        await socket.send_text(current().identity)

    found = Starlette(routes=[WebSocketRoute("/v2/models/{model}/stream", serve)])
    found.add_middleware(GZipMiddleware)
    protect(found, door)
    check_origins(found, cors)
    return found


async def opened(app, headers=(), subprotocols=(), path=PATH):
    """The caller whom a socket is opened for, or the status and the error of its refusal."""
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (n.encode(), v.encode()) for n, v in {"host": "here:8080", **dict(headers)}.items()
        ],
        "subprotocols": list(subprotocols),
        "extensions": {"websocket.http.response": {}},
    }
    await app(scope, receive, send)
    if sent[0]["type"] == "websocket.accept":
        return sent[1]["text"]
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]


USER = Caller("user", frozenset({INFER}))


async def test_a_key_opens(door):
    assert await opened(app(door), KEY) == USER.identity
    assert (await opened(app(door)))[0] == 401


async def test_a_token_opens_once(door):
    token = door.socket_tokens.make(USER, "m", 60)
    offered = ["v2.stream", f"token.{token}"]
    assert await opened(app(door), subprotocols=offered) == USER.identity
    status, error = await opened(app(door), subprotocols=offered)
    assert (status, token in error) == (401, False)


async def test_a_token_is_for_its_model(door):
    token = door.socket_tokens.make(USER, "other", 60)
    assert await opened(app(door), subprotocols=[f"token.{token}"]) == (
        403,
        "'user' may not use model 'm'.",
    )


@pytest.mark.parametrize("name", ["token.sesame", "openai-insecure-api-key.sesame"])
async def test_a_key_is_no_token(door, name):
    assert (await opened(app(door), subprotocols=[name]))[0] == 401


@pytest.mark.parametrize(
    ("subprotocols", "is_dialect", "token"),
    [
        ([], True, None),
        (["v2.stream", "token.a"], False, "a"),
        (["realtime", "openai-insecure-api-key.a"], True, "a"),
        (["realtime", "openai-insecure-api-key.a"], False, None),
        (["token.", "token.a"], False, ""),
    ],
)
def test_where_a_token_stands(subprotocols, is_dialect, token):
    assert token_of(subprotocols, is_dialect) == token


def test_no_model_sees_one():
    assert without_secrets({"sec-websocket-protocol": "token.a", "x": "y"}) == {"x": "y"}


@pytest.mark.parametrize(
    ("origin", "cors", "is_allowed"),
    [
        (None, None, True),
        ("http://here:8080", None, True),
        ("https://here:8080", None, True),
        ("http://here", None, False),
        ("http://there:8080", None, False),
        ("http://here.there:8080", None, False),
        ("null", None, False),
        ("", None, False),
        ("file://", None, False),
        ("https://there", {"allow_origins": ["https://there"]}, True),
        ("https://there.evil", {"allow_origins": ["https://there"]}, False),
        ("https://any", {"allow_origins": ["*"]}, True),
        ("https://a.there", {"allow_origin_regex": r"https://.*\.there"}, True),
        ("https://a.there.evil", {"allow_origin_regex": r"https://.*\.there"}, False),
    ],
)
async def test_pages_are_told_apart_by_their_origins(door, origin, cors, is_allowed):
    made = app(door, cors and CORSSettings(**cors))
    headers = KEY | ({} if origin is None else {"origin": origin})
    found = await opened(made, headers)
    if is_allowed:
        assert found == USER.identity
    else:
        assert found[0] == 403 and "cors_settings" in found[1]


async def test_the_origin_comes_first(door):
    token = door.socket_tokens.make(USER, "m", 60)
    offered = [f"token.{token}"]
    assert (await opened(app(door), {"origin": "https://there"}, offered))[0] == 403
    assert await opened(app(door), subprotocols=offered) == USER.identity


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("https://here", "here", True),
        ("https://here", "here:443", True),
        ("http://here", "HERE:80", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://here", "here:443", False),
        ("http://here:x", "here", False),
        ("http://[::1", "[::1", False),
        ("http://here", "", False),
    ],
)
def test_what_is_the_same_place(origin, host, same):
    assert is_same(origin, host) is same
