"""Who may call what, on every port: a service with keys and tokens."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import websockets
from click.testing import CliRunner, Result
from grpc_reflection.v1alpha import reflection_pb2
from mlserver.grpc import dataplane_pb2 as pb

from clients import grpc_client, speech_client, sse_client
from clients.credentials import Credentials
from clients.errors import RefusedError
from clients.jpeg_stream import JpegStream
from mlserver_streaming.rpc.management import entries
from mlserver_streaming.rpc.triton.messages import CLASSES
from mlserver_streaming.vision.jpeg import encode
from tests.audio.sounds import silence, wav
from tests.live.grpc_calls import (
    SERVICE,
    channel,
    error_of,
    infer,
    jpeg_request,
    stream,
    text_request,
)
from tests.live.keyed import Keyed, add_key, keyed_service, remove_key
from tests.live.rest_calls import path, prompt, tensor

DEADLINE_SECONDS = 20
REQUEST_ID = {"x-request-id": "an id"}
UNKNOWN = ("nobody", "wrong", "expired", "jwt.expired", "jwt.forged")
MAY_INFER = ("infer", "bearer infer", "admin", "limited", "limited admin", "jwt.infer")
CALLERS = (*UNKNOWN, *MAY_INFER, "jwt.limited", "jwt.none")
LIMITED = ("limited", "limited admin", "jwt.limited")
REPOSITORY = "/inference.model_repository.ModelRepositoryService/"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed_service(tmp_path_factory.mktemp("keyed")) as running:
        yield running


def expected(caller: str, needs: str) -> int:
    """The status that a caller gets for a call that needs `nothing`, `infer`, the model `own` of
    the limited ones or any `other`, or to be `admin` of one of these."""
    if needs == "nothing":
        return 200
    if caller in UNKNOWN:
        return 401
    if caller == "jwt.none":
        return 403
    if needs.startswith("admin") and "admin" not in caller:
        return 403
    return 403 if needs.endswith("other") and caller in LIMITED else 200


Sent = dict[str, Any] | None
REST_CALLS: list[tuple[str, str, Sent, str]] = [
    ("GET", "/v2/health/live", None, "nothing"),
    ("GET", "/v2/health/ready", None, "nothing"),
    ("GET", "/v2", None, "infer"),
    ("GET", "/v2/docs", None, "infer"),
    ("GET", "/v2/docs/dataplane.json", None, "infer"),
    ("POST", "/v2/repository/index", {}, "infer"),
    ("POST", path("text-model", "infer"), prompt(), "own"),
    ("POST", path("text-model", "generate_stream"), prompt(), "own"),
    ("GET", "/v2/models/text-model", None, "own"),
    ("GET", "/v2/models/text-model/ready", None, "own"),
    ("GET", "/v2/models/text-model/docs/dataplane.json", None, "own"),
    ("POST", path("stock-text", "infer"), prompt(), "other"),
    ("POST", path("stock-text", "infer_stream"), prompt(), "other"),
    ("GET", "/v2/models/stock-text", None, "other"),
    ("GET", "/v2/models/stock-text/ready", None, "other"),
    ("GET", "/v2/models/stock-text/docs", None, "other"),
    ("GET", "/v2/models/stats", None, "infer"),
    ("GET", "/v2/logging", None, "infer"),
    ("GET", "/v2/trace/setting", None, "infer"),
    ("GET", "/v2/models/text-model/config", None, "own"),
    ("GET", "/v2/models/text-model/stats", None, "own"),
    ("GET", "/v2/models/stock-text/config", None, "other"),
    ("GET", "/v2/models/stock-text/stats", None, "other"),
    ("GET", "/v2/models/stock-text/trace/setting", None, "other"),
    # They hold of all models.
    ("POST", "/v2/logging", {"log_info": True}, "admin other"),
    ("POST", "/v2/trace/setting", {"trace_rate": "1"}, "admin other"),
    ("POST", "/v2/repository/models/text-model/load", None, "admin own"),
    ("POST", "/v2/repository/models/slow-end/unload", None, "admin other"),
    ("POST", "/v2/repository/models/slow-end/load", None, "admin other"),
]


@pytest.mark.parametrize("caller", CALLERS)
def test_rest(keyed: Keyed, caller: str) -> None:
    headers = keyed.headers[caller] | REQUEST_ID
    with httpx.Client(base_url=keyed.service.url, headers=headers, timeout=20) as client:
        for method, url, body, needs in REST_CALLS:
            answer = client.request(method, url, json=body)
            assert answer.status_code == expected(caller, needs), (method, url, answer.text)
            if answer.status_code in (401, 403):
                assert list(answer.json()) == ["error"]
                assert answer.headers["x-request-id"] == "an id"
            challenged = answer.headers.get("www-authenticate")
            assert challenged == ("Bearer" if answer.status_code == 401 else None)


LOAD = pb.RepositoryModelLoadRequest(model_name="slow-end")
LOAD_OWN = pb.RepositoryModelLoadRequest(model_name="text-model")
SET_LOG = CLASSES["LogSettings"](settings=entries({"log_info": True}))
SET_TRACE = CLASSES["TraceSettings"](settings=[{"key": "trace_rate", "value": {"value": ["1"]}}])
LIST = reflection_pb2.ServerReflectionRequest(list_services="")
GRPC_CALLS: list[tuple[str, list[Any], str]] = [
    (HEALTH, [pb.ServerLiveRequest()], "nothing"),
    (SERVICE + "ServerLive", [pb.ServerLiveRequest()], "nothing"),
    (SERVICE + "ServerReady", [pb.ServerReadyRequest()], "nothing"),
    (SERVICE + "ServerMetadata", [pb.ServerMetadataRequest()], "infer"),
    (SERVICE + "RepositoryIndex", [pb.RepositoryIndexRequest()], "infer"),
    (SERVICE + "ModelInfer", [text_request("a b")], "own"),
    (SERVICE + "ModelStreamInfer", [text_request("a b")] * 3, "own"),
    (SERVICE + "ModelReady", [pb.ModelReadyRequest(name="text-model")], "own"),
    (SERVICE + "ModelMetadata", [pb.ModelMetadataRequest(name="text-model")], "own"),
    (SERVICE + "ModelInfer", [text_request("a b", "stock-text")], "other"),
    (SERVICE + "ModelReady", [pb.ModelReadyRequest(name="stock-text")], "other"),
    (SERVICE + "ModelMetadata", [pb.ModelMetadataRequest(name="stock-text")], "other"),
    (SERVICE + "ModelConfig", [pb.ModelMetadataRequest(name="text-model")], "own"),
    (SERVICE + "ModelConfig", [pb.ModelMetadataRequest(name="stock-text")], "other"),
    (SERVICE + "ModelStatistics", [pb.ModelMetadataRequest()], "infer"),
    (SERVICE + "ModelStatistics", [pb.ModelMetadataRequest(name="stock-text")], "other"),
    (SERVICE + "LogSettings", [CLASSES["LogSettings"]()], "infer"),
    (SERVICE + "LogSettings", [SET_LOG], "admin other"),
    (SERVICE + "TraceSetting", [CLASSES["TraceSettings"]()], "infer"),
    (SERVICE + "TraceSetting", [SET_TRACE], "admin other"),
    (SERVICE + "RepositoryModelLoad", [LOAD_OWN], "admin own"),
    (SERVICE + "RepositoryModelUnload", [LOAD], "admin other"),
    (SERVICE + "RepositoryModelLoad", [LOAD], "admin other"),
]
MLSERVER_CALLS: list[tuple[str, list[Any], str]] = [
    (SERVICE + "ModelStreamInfer", [text_request("a b", "stock-text")], "other"),
    (REFLECTION, [LIST], "infer"),
    (REPOSITORY + "RepositoryIndex", [pb.RepositoryIndexRequest()], "infer"),
    (REPOSITORY + "RepositoryModelUnload", [LOAD], "admin other"),
    (REPOSITORY + "RepositoryModelLoad", [LOAD], "admin other"),
]
STREAMED = ("ModelStreamInfer", "ServerReflectionInfo")
STATUS = {200: "OK", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}


async def call(
    connection: grpc.aio.Channel, method: str, messages: list[Any], headers: dict[str, str]
) -> str:
    """Make a call, unary or streamed; its status. An error gives the caller's id back."""

    async def each() -> AsyncIterator[bytes]:
        for message in messages:
            yield message.SerializeToString()

    metadata = tuple((headers | REQUEST_ID).items())
    try:
        if method.endswith(STREAMED):
            async for _ in connection.stream_stream(method)(each(), metadata=metadata):
                pass
        else:
            await connection.unary_unary(method)(messages[0].SerializeToString(), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        assert REQUEST_ID.items() <= dict(error.trailing_metadata() or ()).items()
        return error.code().name
    return "OK"


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("port", ["grpc", "triton"])
async def test_grpc(keyed: Keyed, port: str, caller: str) -> None:
    address = getattr(keyed.service, f"{port}_address")
    calls = GRPC_CALLS + (MLSERVER_CALLS if port == "grpc" else [])
    async with channel(address) as connection:
        for method, messages, needs in calls:
            status = await call(connection, method, messages, keyed.headers[caller])
            assert status == STATUS[expected(caller, needs)], (method, needs)


@pytest.mark.parametrize("port", ["grpc", "triton"])
async def test_a_unary_client_is_told_too(keyed: Keyed, port: str) -> None:
    address = getattr(keyed.service, f"{port}_address")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(address, jpeg_request(b"x" * 5_000_000))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "x-api-key" in (caught.value.details() or "")


@pytest.mark.parametrize("port", ["grpc", "triton"])
async def test_a_refused_stream_is_told_while_it_writes(keyed: Keyed, port: str) -> None:
    address = getattr(keyed.service, f"{port}_address")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(address, [jpeg_request(b"x" * 2_000_000)] * 5)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_forbidden_model_among_others_fails_its_request_only(keyed: Keyed) -> None:
    requests = [
        text_request("a", request_id="1"),
        text_request("b", "stock-text", request_id="2"),
        text_request("c", request_id="3"),
    ]
    metadata = tuple(keyed.headers["limited"].items())
    responses = await stream(keyed.service.grpc_address, requests, metadata=metadata)
    errors = {response.id: error_of(response) for response in responses}
    assert errors == {"1": None, "2": (403, "'limited' may not use model 'stock-text'."), "3": None}


def test_a_limited_key_sees_its_own_models_only(keyed: Keyed) -> None:
    names = {}
    for caller in ("infer", "limited"):
        url = f"{keyed.service.url}/v2/repository/index"
        answer = httpx.post(url, json={}, headers=keyed.headers[caller])
        names[caller] = {model["name"] for model in answer.json()}
        told = httpx.get(
            f"{keyed.service.url}/v2/models/stats", headers=keyed.headers[caller]
        ).json()
        assert {model["name"] for model in told["model_stats"]} <= names[caller]
    assert names["limited"] == {"text-model"}
    assert {"text-model", "stock-text"} < names["infer"]


@pytest.mark.parametrize(
    "document",
    ["/v2/docs/dataplane.json", "/v2/models/text-model/docs/dataplane.json", "/openapi.json"],
)
def test_the_documents_say_what_opens_the_calls(keyed: Keyed, document: str) -> None:
    url = keyed.service.url + document
    said = httpx.get(url, headers=keyed.headers["infer"]).json()
    assert said["security"] == [{"key": []}, {"bearer": []}]
    assert set(said["components"]["securitySchemes"]) == {"key", "bearer"}


def test_a_large_body_is_refused_unread(keyed: Keyed) -> None:
    answer = httpx.post(
        keyed.service.url + path("text-model", "infer"), content=b"x" * 30_000_000, timeout=20
    )
    assert answer.status_code == 401


@pytest.mark.parametrize("caller", CALLERS)
def test_metrics_need_a_key_where_the_settings_say_so(keyed: Keyed, caller: str) -> None:
    url = f"http://127.0.0.1:{keyed.service.metrics}/metrics"
    answer = httpx.get(url, headers=keyed.headers[caller])
    assert answer.status_code == expected(caller, "admin other" if caller in LIMITED else "infer")


async def test_a_model_sees_no_secret(keyed: Keyed) -> None:
    body = {"inputs": [tensor("x", ["x"])]}
    request = text_request("a", "shows-headers")
    for caller in ("infer", "bearer infer", "jwt.infer"):
        headers = keyed.headers[caller] | {"x-mine": "kept"}
        url = keyed.service.url + path("shows-headers", "infer")
        async with httpx.AsyncClient() as client:
            answer = await client.post(url, json=body, headers=headers)
        over_rest = answer.json()["outputs"][0]["data"][0]
        reply = await infer(keyed.service.grpc_address, request, metadata=tuple(headers.items()))
        for shown in (over_rest, reply.raw_output_contents[0][4:].decode()):
            assert json.loads(shown)["x-mine"] == "kept"
            assert not {"x-api-key", "authorization"} & {*json.loads(shown)}
            assert not any(secret in shown for secret in keyed.secrets.values())


def test_the_clients_send_the_key(keyed: Keyed) -> None:
    for client, port in ((sse_client, keyed.service.http), (grpc_client, keyed.service.grpc)):

        def run(client: Any = client, **environment: str) -> Result:
            return CliRunner().invoke(
                client.main, ["What is this?", "--delay", "0"], env=environment
            )

        environment = {"CLIENT_PORT": str(port)}
        for variable, caller in (("CLIENT_API_KEY", "infer"), ("CLIENT_BEARER", "jwt.infer")):
            done = run(**environment, **{variable: keyed.secrets[caller]})
            assert (done.stdout, done.stderr) == ("What is this?\n", "")
        refused = run(**environment)
        assert refused.exit_code == 1
        assert "This call needs a key" in refused.stderr


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("way", [[], ["--streaming"]], ids=["unary", "streaming"])
def test_the_speech_client_sends_the_key(
    keyed: Keyed, tmp_path: Path, protocol: str, way: list[str]
) -> None:
    recording = tmp_path / "silence.wav"
    recording.write_bytes(wav(silence(1)))
    port = keyed.service.http if protocol == "http" else keyed.service.grpc
    command = ["--protocol", protocol, "--port", str(port), *way, str(recording)]
    for variable, caller in (("CLIENT_API_KEY", "infer"), ("CLIENT_BEARER", "jwt.infer")):
        secret = keyed.secrets[caller]
        done = CliRunner().invoke(speech_client.main, command, env={variable: secret})
        assert (done.exit_code, done.stderr) == (0, "")
    refused = CliRunner().invoke(speech_client.main, command)
    assert refused.exit_code == 1
    assert "This call needs a key" in refused.stderr


async def test_the_frame_stream_sends_the_key(keyed: Keyed) -> None:
    jpeg = encode(np.zeros((32, 32, 3), np.uint8))
    port = keyed.service.grpc
    async with JpegStream(port=port, credentials=Credentials(keyed.secrets["infer"])) as frames:
        assert await frames(jpeg)
    with pytest.raises(RefusedError, match="UNAUTHENTICATED: This call needs a key"):
        async with JpegStream(port=port) as frames:
            await frames(jpeg)


def status_with(keyed: Keyed, headers: dict[str, str]) -> int:
    return httpx.get(f"{keyed.service.url}/v2", headers=headers).status_code


def wait_for(keyed: Keyed, headers: dict[str, str], status: int) -> None:
    """Ask until the answer is this; the service looks at its file once a second."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while status_with(keyed, headers) != status:
        assert time.monotonic() < deadline


async def test_keys_come_and_go_without_a_restart(keyed: Keyed) -> None:
    secret = add_key(keyed.keys_file, "late", "--role", "infer")
    keyed.secrets["late"] = secret
    headers = {"x-api-key": secret}
    wait_for(keyed, headers, 200)
    metadata = tuple(headers.items())
    assert await infer(keyed.service.grpc_address, text_request("a"), metadata=metadata)
    remove_key(keyed.keys_file, "late")
    wait_for(keyed, headers, 401)
    with pytest.raises(grpc.aio.AioRpcError):
        await infer(keyed.service.grpc_address, text_request("a"), metadata=metadata)


def test_garbage_leaves_the_old_keys_and_one_line(keyed: Keyed) -> None:
    whole = keyed.keys_file.read_bytes()
    keyed.keys_file.write_text("garbage")
    loud = "CANNOT BE USED"
    deadline = time.monotonic() + DEADLINE_SECONDS
    while loud not in keyed.service.log.read_text():
        assert status_with(keyed, keyed.headers["infer"]) == 200
        assert status_with(keyed, {}) == 401
        assert time.monotonic() < deadline
    keyed.keys_file.write_bytes(whole)
    restored = "has changed and is in force"
    before = keyed.service.log.read_text().count(restored)
    while keyed.service.log.read_text().count(restored) == before:
        assert status_with(keyed, keyed.headers["infer"]) == 200
        assert time.monotonic() < deadline
    lines = keyed.service.log.read_text().splitlines()
    assert sum(loud in line for line in lines) == 1


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("model", "needs"), [("text-model", "own"), ("jpeg-model", "other")])
async def test_sockets(keyed: Keyed, caller: str, model: str, needs: str) -> None:
    uri = f"ws://127.0.0.1:{keyed.service.http}/v2/models/{model}/stream"
    headers, wanted = keyed.headers[caller], expected(caller, needs)
    if wanted != 200:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with websockets.connect(uri, additional_headers=headers):
                pass
        answer = caught.value.response
        assert (answer.status_code, list(json.loads(answer.body))) == (wanted, ["error"])
        return
    async with websockets.connect(uri, additional_headers=headers) as socket:
        # Another model than the path's is authorised too.
        await socket.send(json.dumps({"text_input": "x", "model_name": "tensor-sum"}))
        answered = json.loads(await socket.recv())
        assert answered["error_code"] == (403 if caller in LIMITED else 400)


def test_no_secret_is_in_the_log_or_the_metrics(keyed: Keyed) -> None:
    """Last: all calls of this module are behind it."""
    url = f"http://127.0.0.1:{keyed.service.metrics}/metrics"
    metrics = httpx.get(url, headers=keyed.headers["admin"]).text
    log = keyed.service.log.read_text()
    assert "stream_requests_total" in metrics
    for protocol in ("rest", "grpc", "websocket"):
        for status in (401, 403):
            assert f'auth_refused_total{{protocol="{protocol}",status="{status}"}}' in metrics
    assert "key=infer" in log
    assert "key=jwt:alice" in log
    for secret in (*keyed.secrets.values(), "mls_"):
        assert secret not in metrics
        assert secret not in log
        for part in secret.split("."):
            assert len(part) < 20 or part not in log


@pytest.mark.parametrize("port", ["grpc_address", "triton_address"])
async def test_streams_without_a_key_keep_nobody_from_inference(keyed: Keyed, port: str):
    """More of them than there are calls at once, each open and silent: refused, and counted out."""
    address = getattr(keyed.service, port)
    refused: list[Any] = []
    connections = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(3)
    ]
    for connection in connections:
        method = connection.stream_stream(SERVICE + "ModelStreamInfer")
        refused += [method(timeout=DEADLINE_SECONDS) for _ in range(415)]
    reply = await infer(
        address, text_request("a b"), metadata=tuple(keyed.headers["infer"].items())
    )
    assert reply.outputs[0].shape == [2]
    codes = {await call.code() for call in refused}
    assert codes <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.CANCELLED}
    for connection in connections:
        await connection.close()
