"""How long a call may take: the caller's own `timeout` and deadline, silence, and the whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from mlserver_streaming.rpc.triton.messages import ModelStreamInferResponse
from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.grpc_calls import (
    SERVICE,
    channel,
    error_of,
    infer,
    stream,
    text_request,
    triton_stream,
)
from tests.live.rest_calls import path, probe
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import PATIENCE, closed, steps, wait_until

# Microseconds: at once, and when even a busy machine has given a first response.
SOON, LATER = 50_000, 500_000
DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED
dialects = pytest.mark.parametrize("triton", [False, True], ids=["mlserver", "triton"])


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Ends a stream that is silent for 0.8 s, and each after 2 s."""
    limits = {"stream_idle_seconds": 0.8, "stream_seconds": 2}
    folder = make_folder(tmp_path_factory.mktemp("hasty"), streaming={"limits": limits})
    with WarmService(folder, folder / "server.log") as running:
        yield running


@pytest.fixture
def hanging(tmp_path: Path) -> dict[str, Any]:
    """Parameters that make the probe give one response and then hang; it notes how it ended."""
    return {"steps": 2, "gate": str(tmp_path / "never"), "path": str(tmp_path / "seen")}


def ask(**parameters: Any) -> Any:
    return text_request("x", model="probe", **parameters)


async def post(service: Service, call: str, **parameters: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        return await client.post(path("probe", call), json=probe(**parameters))


async def ends_with(call: Any, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code
    return caught.value.details() or ""


def last_event(answer: httpx.Response) -> tuple[str, str]:
    """The name and the error of the event that ended a stream."""
    assert answer.status_code == 200
    name, data, *_ = answer.text.rstrip("\n").rpartition("\n\n")[2].split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))["error"]


def address(service: Service, triton: bool) -> str:
    return service.triton_address if triton else service.grpc_address


async def each(requests: list[Any]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request.SerializeToString()


def reply_of(reply: bytes, triton: bool) -> tuple[str, str]:
    """The id and the error of one reply of a stream."""
    if triton:
        message = ModelStreamInferResponse.FromString(reply)
        response = pb.ModelInferResponse.FromString(message.infer_response)
        return response.id, message.error_message
    response = pb.ModelInferResponse.FromString(reply)
    status, error = error_of(response) or (504, "")
    assert status == 504
    return response.id, error


async def gone(parameters: dict[str, Any]) -> None:
    await wait_until(lambda: closed(Path(parameters["path"])))


async def test_a_timeout_ends_a_unary_call(service: Service, hanging: dict[str, Any]):
    answer = await post(service, "infer", timeout=SOON, **hanging)
    assert answer.status_code == 504
    assert "0.05 s" in answer.json()["error"]
    await gone(hanging)


async def test_a_timeout_before_the_first_response_is_a_status(service: Service):
    answer = await post(service, "generate_stream", timeout=SOON, seconds=60)
    assert answer.status_code == 504


async def test_a_timeout_after_it_is_an_event(service: Service, hanging: dict[str, Any]):
    answer = await post(service, "generate_stream", timeout=LATER, **hanging)
    assert answer.text.startswith("data: ")
    assert last_event(answer) == (
        "error",
        "The call was ended after 0.5 s, the longest it may last.",
    )
    await gone(hanging)


async def test_a_timeout_ends_a_unary_grpc_call(service: Service, hanging: dict[str, Any]):
    for address in (service.grpc_address, service.triton_address):
        assert "0.05 s" in await ends_with(infer(address, ask(timeout=SOON, **hanging)), DEADLINE)
    await gone(hanging)


async def test_a_timeout_of_a_grpc_stream_s_only_request_is_its_status(
    service: Service, hanging: dict[str, Any]
):
    said = await ends_with(stream(service.grpc_address, [ask(timeout=LATER, **hanging)]), DEADLINE)
    assert said == "The call was ended after 0.5 s, the longest it may last."
    await gone(hanging)


@dialects
async def test_a_timeout_ends_one_request_of_a_grpc_stream(
    service: Service, hanging: dict[str, Any], triton: bool
):
    protocol = "triton" if triton else "grpc"
    before = figure(service, "stream_terminated_total", protocol=protocol, reason="deadline")
    requests = [
        ask(request_id="before"),
        ask(request_id="late", timeout=LATER, **hanging),
        ask(request_id="other", timeout=60_000_000, steps=2),
        ask(request_id="after"),
    ]
    async with channel(address(service, triton)) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")(each(requests))
        replies = [reply_of(reply, triton) async for reply in call]
    assert sorted(replies) == [
        ("after", ""),
        ("before", ""),
        ("late", ""),
        ("late", "The call was ended after 0.5 s, the longest it may last."),
        ("other", ""),
        ("other", ""),
    ]
    await gone(hanging)
    now = figure(service, "stream_terminated_total", protocol=protocol, reason="deadline")
    assert now == before + 1


@dialects
async def test_a_reader_that_is_slower_than_a_timeout_loses_that_answer_only(
    service: Service, hanging: dict[str, Any], tmp_path: Path, triton: bool
):
    """Its `timeout` ends in the middle of a write, which gRPC does not take back."""
    big = tmp_path / "big"
    large = {"steps": 100, "size": 1_000_000, "path": str(big)}
    async with asyncio.timeout(PATIENCE), channel(address(service, triton)) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(ask(request_id="big", timeout=LATER, **large).SerializeToString())
        # When this call's own `timeout` has passed, the stream's has too.
        await ends_with(infer(service.grpc_address, ask(timeout=2 * LATER, **hanging)), DEADLINE)
        await call.write(ask(request_id="after").SerializeToString())
        await call.done_writing()
        replies = [reply_of(reply, triton) async for reply in call]
    assert steps(big) < 100
    assert [error for id, error in replies if id == "big" and error] == [
        "The call was ended after 0.5 s, the longest it may last."
    ]
    assert ("after", "") in replies


@dialects
async def test_a_grpc_deadline_ends_the_model_s_work(
    service: Service, hanging: dict[str, Any], triton: bool
):
    protocol, send, address = (
        ("triton", triton_stream, service.triton_address)
        if triton
        else ("grpc", stream, service.grpc_address)
    )
    before = figure(service, "stream_terminated_total", protocol=protocol, reason="deadline")
    await ends_with(send(address, [ask(**hanging)], timeout=1), DEADLINE)
    await gone(hanging)
    now = figure(service, "stream_terminated_total", protocol=protocol, reason="deadline")
    assert now == before + 1


@pytest.mark.parametrize("wrong", [-1, 1.5, "soon", True])
async def test_a_timeout_that_is_none_is_refused(service: Service, wrong: Any):
    for call in ("infer", "generate_stream"):
        answer = await post(service, call, timeout=wrong)
        assert answer.status_code == 400
        assert "'timeout'" in answer.json()["error"]
    refused = grpc.StatusCode.INVALID_ARGUMENT
    said = await ends_with(stream(service.grpc_address, [ask(timeout=wrong)]), refused)
    assert "'timeout'" in said
    [(message, _)] = await triton_stream(service.triton_address, [ask(timeout=wrong)])
    assert "'timeout'" in message


async def test_a_timeout_that_is_not_reached_changes_nothing(service: Service):
    answer = await post(service, "generate_stream", timeout=60_000_000, steps=3)
    assert answer.text.count("data: ") == 3


async def test_silence_ends_a_stream_that_has_begun(hasty: Service, tmp_path: Path):
    wanted = [
        {"steps": 2, "gate": str(tmp_path / "never"), "path": str(tmp_path / protocol)}
        for protocol in ("rest", "grpc", "triton")
    ]
    answer, *said = await asyncio.gather(
        post(hasty, "generate_stream", **wanted[0]),
        ends_with(stream(hasty.grpc_address, [ask(**wanted[1])]), DEADLINE),
        ends_with(triton_stream(hasty.triton_address, [ask(**wanted[2])]), DEADLINE),
    )
    silence = "Nothing came or went for 0.8 s, so the stream was ended."
    assert last_event(answer) == ("error", silence)
    assert said == [silence, silence]
    for protocol, parameters in zip(("rest", "grpc", "triton"), wanted, strict=True):
        await gone(parameters)
        assert figure(hasty, "stream_terminated_total", protocol=protocol, reason="idle") == 1


async def test_silence_before_the_first_response_is_a_status(hasty: Service):
    answer = await post(hasty, "generate_stream", seconds=60)
    assert answer.status_code == 408


async def test_a_client_that_opens_a_stream_and_says_nothing_is_let_go(hasty: Service):
    for address in (hasty.grpc_address, hasty.triton_address):
        async with channel(address) as connection:
            call = connection.stream_stream(SERVICE + "ModelStreamInfer")()
            assert "Nothing came or went" in await ends_with(call.read(), DEADLINE)


async def test_a_stream_that_talks_on_has_an_end(hasty: Service, tmp_path: Path):
    seen = tmp_path / "seen"
    talks = {"steps": 100_000, "seconds": 0.05, "path": str(seen)}
    answer, *_ = await asyncio.gather(
        post(hasty, "generate_stream", **talks),
        ends_with(stream(hasty.grpc_address, [ask(**talks)]), DEADLINE),
        ends_with(triton_stream(hasty.triton_address, [ask(**talks)]), DEADLINE),
    )
    assert "2 s" in last_event(answer)[1]
    assert steps(seen) > 3
    for protocol in ("rest", "grpc", "triton"):
        assert figure(hasty, "stream_terminated_total", protocol=protocol, reason="deadline") == 1
