"""A response larger than the bound fails its request, over every wire, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.grpc_calls import error_of, infer, stream, text_request, triton_stream
from tests.live.rest_calls import path, probe
from tests.live.service import Service
from tests.live.warm import WarmService

KIB = 1024
SENTENCE = (
    r"A response to this request has {} bytes, and at most 65536 \(limits\.request_bytes\) leave "
    r"as one; ask for less at once\."
)
# One that counts as small as it is encoded, and one that is encoded in turns.
SIZES = [64 * KIB, 5 * 1024 * KIB]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    limits = {"request_bytes": 64 * KIB}
    folder = make_folder(tmp_path_factory.mktemp("large"), streaming={"limits": limits})
    with WarmService(folder, folder / "server.log") as running:
        yield running


def request(request_id: str, size: int, **parameters: Any) -> Any:
    return text_request("x", "probe", request_id, size=size, **parameters)


def says(text: str) -> bool:
    return re.fullmatch(SENTENCE.format(r"\d+"), text) is not None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("call", ["infer", "infer_stream"])
async def test_over_rest_it_is_a_413(service: Service, call: str, size: int):
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        answer = await client.post(path("probe", call), json=probe(size=size))
        assert answer.status_code == 413
        assert says(answer.json()["error"])
        assert (await client.post(path("probe", call), json=probe(size=60_000))).is_success


@pytest.mark.parametrize("size", SIZES)
async def test_a_later_event_ends_its_stream_with_the_reason(service: Service, size: int):
    before = figure(service, "stream_terminated_total", reason="error", protocol="rest")
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        body = probe(steps=4, size=size, large_at=2)
        answer = await client.post(path("probe", "infer_stream"), json=body)
    assert answer.status_code == 200
    first, second, last = answer.text.strip().split("\n\n")
    assert first.startswith("data: ") and second.startswith("data: ")
    kind, data = last.split("\n")
    assert kind == "event: error"
    assert says(json.loads(data.removeprefix("data: "))["error"])
    after = figure(service, "stream_terminated_total", reason="error", protocol="rest")
    assert after == before + 1


@pytest.mark.parametrize("size", SIZES)
async def test_one_that_was_asked_for_alone_gets_a_status(service: Service, size: int):
    for ask in (
        lambda: infer(service.grpc_address, request("1", size)),
        lambda: stream(service.grpc_address, [request("1", size)]),
        lambda: infer(service.triton_address, request("1", size)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert says(caught.value.details() or "")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("timed", [{}, {"timeout": 60_000_000}])
async def test_among_others_it_fails_alone(service: Service, size: int, timed: dict[str, int]):
    failed = [request("2", size, **timed), request("3", size, steps=2, **timed)]
    asked = [request("1", 10), *failed, request("4", 10)]
    before = figure(service, "stream_request_errors_total", model_name="probe", protocol="grpc")
    answers = await stream(service.grpc_address, asked)
    found = [(answer.id, error_of(answer)) for answer in answers]
    assert [each for each in found if each[1] is None] == [("1", None), ("4", None)]
    for request_id, error in found:
        if error is not None:
            assert request_id in ("2", "3")
            assert error[0] == 413
            assert says(error[1])
    assert len(found) == 5
    after = figure(service, "stream_request_errors_total", model_name="probe", protocol="grpc")
    assert after - before == 3
    assert not figure(service, "stream_terminated_total", reason="client_disconnect")


@pytest.mark.parametrize("size", SIZES)
async def test_among_others_in_tritons_dialect_too(service: Service, size: int):
    asked = [request("1", 10), request("2", size), request("3", 10)]
    answers = await triton_stream(service.triton_address, asked)
    found = {response.id: message for message, response in answers}
    assert (found["1"], found["3"]) == ("", "")
    assert says(found["2"])
    assert not figure(service, "stream_terminated_total", reason="client_disconnect")
