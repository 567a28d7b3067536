"""The line at each stream's end, ids both ways, and a log that no caller can write into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.figures import scrape
from tests.live.grpc_calls import SERVICE, channel, text_request, triton_stream
from tests.live.keyed import add_key
from tests.live.rest_calls import path, probe, prompt
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import wait_until

FIELDS = ("id", "model", "version", "protocol", "key", "requests", "responses", "seconds", "reason")
HOSTILE = 'a"}\n{"message": "forged", "id": "\u2028\x85\x1b[2J'
PLAIN = 'stream ended: id={} model=text-model version="" protocol={} key="" requests={} '


class Logged:
    """A service whose log is JSON, with a key."""

    def __init__(self, service: Service, secret: str):
        self.service = service
        self.headers = {"x-api-key": secret}
        self.metadata = tuple(self.headers.items())

    def records(self) -> list[dict[str, Any]]:
        """Every line of the log; each must parse."""
        return [json.loads(line) for line in log_lines(self.service.log)]

    async def ended(self, **fields: Any) -> dict[str, Any]:
        """The one line of a stream's end with these fields."""

        def found() -> list[dict[str, Any]]:
            return [each for each in self.records() if fields.items() <= each.items()]

        await wait_until(lambda: bool(found()))
        [record] = found()
        return record


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = make_folder(
        tmp_path_factory.mktemp("logs"),
        use_structured_logging=True,
        streaming={"auth": {"keys_file": "keys.json"}},
    )
    secret = add_key(folder / "keys.json", "the-tester", "--role", "infer")
    with WarmService(folder, folder / "server.log") as service:
        yield Logged(service, secret)


async def post(logged: Logged, call: str, body: Any, **headers: str) -> httpx.Response:
    url = logged.service.url
    async with httpx.AsyncClient(base_url=url, headers=logged.headers | headers) as client:
        return await client.post(call, json=body)


async def test_a_stream_over_rest_ends_with_a_line(logged: Logged):
    answer = await post(
        logged, path("text-model", "generate_stream"), prompt("a b c"), **{"x-request-id": "r 1"}
    )
    assert answer.headers["x-request-id"] == "r 1"
    record = await logged.ended(id="r 1")
    assert set(FIELDS) < set(record)
    assert record["seconds"] >= 0
    expected = {"model": "text-model", "version": "", "protocol": "rest", "key": "the-tester"}
    expected |= {"requests": 1, "responses": 3, "reason": "completed", "level": "INFO"}
    assert expected.items() <= record.items()


@pytest.mark.parametrize("protocol", ["grpc", "triton"])
async def test_a_stream_over_grpc_ends_with_a_line(logged: Logged, protocol: str):
    request_id = f"r-{protocol}"
    metadata = (*logged.metadata, ("x-request-id", request_id))
    address = getattr(logged.service, f"{protocol}_address")
    async with channel(address) as connection:
        method = connection.stream_stream(SERVICE + "ModelStreamInfer")
        call = method(iter([text_request("a b").SerializeToString()]), metadata=metadata)
        assert len([reply async for reply in call]) == 2
        assert dict(await call.trailing_metadata())["x-request-id"] == request_id
    record = await logged.ended(id=request_id)
    expected = {"protocol": protocol, "key": "the-tester", "requests": 1, "responses": 2}
    assert expected.items() <= record.items()


async def test_unary_calls_give_the_id_back(logged: Logged):
    answer = await post(logged, path("text-model", "infer"), prompt("a"), **{"x-request-id": "u-1"})
    assert answer.headers["x-request-id"] == "u-1"
    assert answer.json()["id"] == "u-1"
    refused = await post(logged, path("nope", "infer"), prompt("a"), **{"x-request-id": "u-2"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (404, "u-2")
    async with channel(logged.service.grpc_address) as connection:
        method = connection.unary_unary(SERVICE + "ModelInfer")
        metadata = (*logged.metadata, ("x-request-id", "u-3"))
        call = method(text_request("a").SerializeToString(), metadata=metadata)
        await call
        assert dict(await call.trailing_metadata())["x-request-id"] == "u-3"
        failing = method(text_request("a", model="nope").SerializeToString(), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await failing
        assert dict(caught.value.trailing_metadata() or ())["x-request-id"] == "u-3"


async def test_no_caller_writes_lines_of_its_own(logged: Logged):
    """As an id, in a stream that ends well and in one that fails with a traceback."""
    body = prompt("a") | {"id": HOSTILE}
    assert (await post(logged, path("text-model", "generate_stream"), body)).is_success
    body = probe(fail_at=0) | {"id": HOSTILE}
    failed = await post(logged, path("probe", "generate_stream"), body)
    assert failed.status_code == 500
    await post(logged, "/v2/models/%0A%7B%7D/infer", {}, **{"user-agent": '"\\'})
    await triton_stream(
        logged.service.triton_address,
        [text_request("x", "probe", HOSTILE, fail_at=0)],
        metadata=logged.metadata,
    )
    await logged.ended(id=HOSTILE, protocol="triton")
    records = logged.records()
    assert not [each for each in records if each["message"].startswith("forged")]
    assert [each for each in records if "the probe" not in each and "exception" in each]
    assert await logged.ended(id=HOSTILE, model="probe", protocol="rest", reason="error")


async def test_no_key_is_in_the_log_and_no_name_that_nobody_let_in_is_a_label(logged: Logged):
    async with channel(logged.service.grpc_address) as connection:
        with pytest.raises(grpc.aio.AioRpcError):
            await connection.unary_unary("/unheard-of/unheard-of")(b"")
        with pytest.raises(grpc.aio.AioRpcError):
            await connection.stream_stream(f"{SERVICE}unheard-of")(iter([b""])).read()
    assert not [sample for sample in scrape(logged.service) if "unheard-of" in str(sample)]
    assert logged.headers["x-api-key"] not in logged.service.log.read_text()


def log_lines(log: Path) -> list[str]:
    """Whole lines, cut at every character that some reader takes for a line's end."""
    return log.read_text().rpartition("\n")[0].splitlines()


async def test_a_plain_line_is_one_line_too(service: Service):
    body = prompt("a b") | {"id": HOSTILE}
    async with httpx.AsyncClient(base_url=service.url) as client:
        await client.post(path("text-model", "generate_stream"), json=body)
        failing = probe(fail_at=0) | {"id": HOSTILE}
        await client.post(path("probe", "generate_stream"), json=failing)
    start = PLAIN.format(json.dumps(HOSTILE), "rest", 1) + "responses=2 seconds=0."
    await wait_until(lambda: "model=probe" in service.log.read_text())
    lines = log_lines(service.log)
    [line] = [each for each in lines if start in each]
    assert line.endswith("reason=completed")
    assert not [each for each in lines if each.startswith(('{"message', "\x1b"))]
