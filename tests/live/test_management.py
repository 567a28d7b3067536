"""Triton's calls about the service, asked for what they do not take: one sentence each."""

from __future__ import annotations

import json
from typing import Any

import grpc
import httpx
import pytest

from mlserver_streaming.rpc.management import entries
from mlserver_streaming.rpc.triton.messages import CLASSES
from tests.live.grpc_calls import SERVICE, channel
from tests.live.service import Service

LOAD = "/v2/repository/models/tensor-sum/load"
CONFIG = {"parameters": {"config": json.dumps({"max_batch_size": -1})}}
BAD: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/v2/models/nope/config", None, 404, "no model 'nope'"),
    ("GET", "/v2/models/nope/stats", None, 404, "no model 'nope'"),
    ("GET", "/v2/models/text-model/versions/7/stats", None, 404, "version '7'"),
    ("GET", "/v2/models/nope/trace/setting", None, 404, "no model 'nope'"),
    ("POST", "/v2/models/text-model/config", {}, 405, "POST"),
    ("POST", "/v2/logging", b"{", 400, "not JSON"),
    ("POST", "/v2/logging", b"[]", 400, "object"),
    ("POST", "/v2/logging", {"log_info": "no"}, 400, "true or false"),
    ("POST", "/v2/logging", {"log_nonsense": True}, 400, "no log setting"),
    ("POST", "/v2/logging", {"log_file": "../x"}, 501, "'log_file'"),
    ("POST", "/v2/logging", b" " * 20_000, 413, "larger"),
    ("POST", "/v2/trace/setting", {"trace_level": 7}, 400, "'trace_level'"),
    ("POST", "/v2/trace/setting", {"trace_rate": {}}, 400, "'trace_rate'"),
    ("POST", LOAD, b"null", 400, "object"),
    ("POST", LOAD, {"parameters": 7}, 400, "'parameters'"),
    ("POST", LOAD, {"parameters": {"config": "{"}}, 400, "JSON object"),
    ("POST", LOAD, CONFIG, 400, "'max_batch_size'"),
    ("POST", LOAD, {"parameters": {"file:1/a": "AA=="}}, 501, "over the network"),
    ("POST", LOAD, {"parameters": {"x": 1}}, 400, "no parameter 'x'"),
]


def test_over_http(service: Service) -> None:
    with httpx.Client(base_url=service.url) as client:
        for method, url, body, status, words in BAD:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            answer = client.request(method, url, content=content if method == "POST" else None)
            assert answer.status_code == status, (url, body, answer.text)
            assert words in answer.json()["error"]
        # Nothing of it was taken over.
        found = client.get("/v2/logging").json()
        assert found["log_info"] is True and found["log_verbose_level"] == 0
        assert client.get("/v2/models/tensor-sum/ready").status_code == 200


@pytest.mark.parametrize("port", ["grpc", "triton"])
async def test_over_grpc(service: Service, port: str) -> None:
    def log(**settings: Any) -> bytes:
        return CLASSES["LogSettings"](settings=entries(settings)).SerializeToString()

    def load(**parameters: Any) -> bytes:
        message = CLASSES["RepositoryModelRequest"]
        return message(model_name="tensor-sum", parameters=entries(parameters)).SerializeToString()

    broken = {"settings": [{"key": "log_info", "value": b"\xff\xff"}]}
    bad = [
        ("LogSettings", log(log_info=1), "INVALID_ARGUMENT"),
        ("LogSettings", log(log_all=True), "INVALID_ARGUMENT"),
        ("LogSettings", log(log_file="x"), "UNIMPLEMENTED"),
        ("LogSettings", CLASSES["LogSettings"](**broken).SerializeToString(), "INVALID_ARGUMENT"),
        ("TraceSetting", CLASSES["TraceSettings"](model_name="nope"), "NOT_FOUND"),
        ("ModelConfig", CLASSES["ModelRequest"](name="nope"), "NOT_FOUND"),
        ("ModelStatistics", CLASSES["ModelRequest"](name="text-model", version="7"), "NOT_FOUND"),
        ("RepositoryModelLoad", load(config="[]"), "INVALID_ARGUMENT"),
        ("RepositoryModelLoad", load(**{"file:x": "y"}), "UNIMPLEMENTED"),
        ("RepositoryModelUnload", load(unload_dependents="x"), "INVALID_ARGUMENT"),
    ]
    async with channel(getattr(service, f"{port}_address")) as connection:
        for method, message, code in bad:
            sent = message if isinstance(message, bytes) else message.SerializeToString()
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await connection.unary_unary(SERVICE + method)(sent)
            assert raised.value.code().name == code, (method, raised.value.details())
            assert str(raised.value.details()).endswith(".")
        await connection.unary_unary(SERVICE + "LogSettings")(b"")


def test_what_a_load_changes_holds_until_the_next(service: Service) -> None:
    def config() -> dict[str, Any]:
        return client.get("/v2/models/tensor-sum/config").json()

    with httpx.Client(base_url=service.url, timeout=60) as client:
        before = config()
        changed = {"response_cache": {"enable": True}}
        sent = {"parameters": {"config": json.dumps(before | changed)}}
        assert client.post(LOAD, json=sent).status_code == 200
        assert config() == before | changed
        assert client.post(LOAD).status_code == 200
        assert config() == before
