"""What the REST edge answers to an error, whatever raised it."""

import httpx
import pytest
from mlserver.errors import MLServerError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mlserver_streaming.rest.server import EXCEPTION_HANDLERS, MAX_ERROR_CHARACTERS


async def asked(error: Exception | None, method: str = "GET", path: str = "/a", **headers: str):
    async def raising(request: Request) -> Response:
        raise error

    app = Starlette(routes=[Route("/a", raising)], exception_handlers=EXCEPTION_HANDLERS)
    # Starlette raises an unexpected error again, for the server to log.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize("status", [400, 404, 413, 422, 501])
async def test_an_error_keeps_its_words_and_status(status):
    answer = await asked(MLServerError("too bad.", status))
    assert (answer.status_code, answer.json()) == (status, {"error": "too bad."})
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("status", [429, 503])
async def test_who_is_refused_is_told_when_to_come_back(status):
    answer = await asked(MLServerError("busy", status))
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "1")


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_an_error_gives_the_caller_s_id_back(status):
    answer = await asked(MLServerError("no", status), **{"X-Request-Id": "a b/17"})
    assert answer.headers["x-request-id"] == "a b/17"
    for unfit in ("x" * 129, ""):
        answer = await asked(MLServerError("no", status), **{"X-Request-Id": unfit})
        assert "x-request-id" not in answer.headers


async def test_a_long_error_is_cut():
    answer = await asked(MLServerError("x" * 10_000, 400))
    assert len(answer.json()["error"]) == MAX_ERROR_CHARACTERS + len("...")


async def test_what_nobody_expected_stays_inside():
    answer = await asked(ValueError("secret"), **{"X-Request-Id": "17"})
    assert answer.status_code == 500
    assert "'17'" in answer.json()["error"]
    assert "secret" not in answer.text
    assert "None" not in (await asked(ValueError("secret"))).text


async def test_unknown_paths_and_methods():
    answer = await asked(None, path="/b")
    assert answer.status_code == 404
    assert "/b" in answer.json()["error"]
    answer = await asked(None, method="POST")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert "GET" in answer.json()["error"]


async def test_a_client_that_has_gone_is_no_error():
    assert (await asked(ClientDisconnect())).status_code == 499
