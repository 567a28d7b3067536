"""The short way of the inference calls: the same door, counts and errors as the app's own way."""

import json
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette_exporter import PrometheusMiddleware

from mlserver_streaming.errors import InternalError, MLServerError, TooLargeError
from mlserver_streaming.rest.cycles import ANSWER
from mlserver_streaming.rest.short_way import ShortWay

PATH = "/v2/models/{model_name}/infer"
VERSION_PATH = "/v2/models/{model_name}/versions/{model_version}/infer"


async def mlserver_error(request, error):
    return JSONResponse({"error": str(error)}, error.status_code)


async def unexpected(request, error):
    return JSONResponse({"error": "unexpected"}, 500)


ERRORS = {MLServerError: mlserver_error, Exception: unexpected}


class Calls:
    """An inference call that says which model it was for, or fails."""

    def __init__(self):
        self.error = None
        self.begins = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.error is not None:
            if self.begins:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            raise self.error
        await JSONResponse(scope["path_params"])(scope, receive, send)


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def app(calls, request):
    app = FastAPI()
    prefix = f"short_way_{abs(hash(request.node.name))}"
    app.add_middleware(PrometheusMiddleware, app_name="mlserver", prefix=prefix)
    app.state.prefix = prefix
    return app


async def asked(way, path, method="POST", root_path=""):
    """The statuses and the body of what is sent."""
    sent = []
    cycle = SimpleNamespace(status=0, written=0.0)  # our server's

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        cycle.status = cycle.status or message["status"]
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": root_path + path,
        "root_path": root_path,
        "query_string": b"",
        "headers": [(b"host", b"a")],
        "extensions": {ANSWER: {"cycle": cycle}},
    }
    failure = None
    try:
        await way(scope, receive, send)
    except Exception as error:
        failure = error
    statuses = [m["status"] for m in sent if m["type"] == "http.response.start"]
    body = b"".join(m.get("body", b"") for m in sent)
    return statuses, json.loads(body or b"null"), failure


def counted(app, path, status):
    labels = {"method": "POST", "path": path, "status_code": str(status), "app_name": "mlserver"}
    prefix = app.state.prefix
    count = REGISTRY.get_sample_value(f"{prefix}_requests_total", labels)
    seconds = REGISTRY.get_sample_value(f"{prefix}_request_duration_seconds_count", labels)
    assert count == seconds
    in_progress = {"method": "POST", "app_name": "mlserver"}
    assert REGISTRY.get_sample_value(f"{prefix}_requests_in_progress", in_progress) == 0
    return count


@pytest.mark.parametrize("root_path", ["", "/root"])
async def test_a_call_is_answered_and_counted(app, calls, root_path):
    way = ShortWay(app, {"infer": calls}, ERRORS)
    found = await asked(way, "/v2/models/org%2Fa/infer", root_path=root_path)
    assert found == ([200], {"model_name": "org/a"}, None)
    found = await asked(way, "/v2/models/a/versions/v%201/infer", root_path=root_path)
    assert found == ([200], {"model_name": "a", "model_version": "v 1"}, None)
    assert (counted(app, PATH, 200), counted(app, VERSION_PATH, 200)) == (1, 1)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v2/models/a/infer", "GET"),
        ("/v2/models/infer", "POST"),
        ("/v2/models//infer", "POST"),
        ("/v2/models/a/versions//infer", "POST"),
        ("/v2/models/a/b/infer", "POST"),
        ("/v2/models/a/infer/", "POST"),
        ("/v2/models/a/other", "POST"),
        ("/v1/models/a/infer", "POST"),
    ],
)
async def test_all_else_goes_the_app_s_way(app, calls, path, method):
    statuses, body, _ = await asked(ShortWay(app, {"infer": calls}, ERRORS), path, method)
    assert (statuses, body) == ([404], {"detail": "Not Found"})


async def test_middleware_that_is_not_known_here_sees_all(app, calls):
    app.add_middleware(CORSMiddleware)
    statuses, *_ = await asked(ShortWay(app, {"infer": calls}, ERRORS), "/v2/models/a/infer")
    assert statuses == [404]


async def test_an_error_has_its_status_and_is_counted(app, calls):
    calls.error, calls.begins = TooLargeError("Too large."), False
    found = await asked(ShortWay(app, {"infer": calls}, ERRORS), "/v2/models/a/infer")
    assert found == ([413], {"error": "Too large."}, None)
    assert counted(app, PATH, 413) == 1


async def test_what_a_model_does_wrong_is_told_and_is_no_fault_of_the_server(app, calls):
    calls.error, calls.begins = InternalError("1"), False
    statuses, _, failure = await asked(
        ShortWay(app, {"infer": calls}, ERRORS), "/v2/models/a/infer"
    )
    assert (statuses, failure) == ([500], None)


@pytest.mark.parametrize("begins", [False, True])
async def test_what_nobody_foresaw_is_told_where_it_can_be_and_raised(app, calls, begins):
    calls.error, calls.begins = ValueError("unforeseen"), begins
    found = await asked(ShortWay(app, {"infer": calls}, ERRORS), "/v2/models/a/infer")
    answer = ([200], None) if begins else ([500], {"error": "unexpected"})
    assert found == (*answer, calls.error)
    assert counted(app, PATH, 500) == 1


async def test_who_has_gone_is_counted_as_such(app):
    async def silent(scope, receive, send):
        pass

    assert (await asked(ShortWay(app, {"infer": silent}, ERRORS), "/v2/models/a/infer"))[0] == []
    assert counted(app, PATH, 499) == 1
