"""How long a call may take: the caller's own `timeout` and deadline, silence, and the whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from .conftest import make_folder
from .figures import figure
from .grpc_calls import SERVICE, channel, infer, stream, text_request, triton_stream
from .rest_calls import path, probe
from .service import Service
from .watch import closed, steps, wait_until

# Microseconds: at once, and when even a busy machine has given a first response.
SOON, LATER = 50_000, 500_000
DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Ends a stream that is silent for 0.8 s, and each after 2 s."""
    limits = {"stream_idle_seconds": 0.8, "stream_seconds": 2}
    folder = make_folder(tmp_path_factory.mktemp("hasty"), streaming={"limits": limits})
    with Service(folder, folder / "server.log") as running:
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


async def test_a_timeout_ends_one_request_of_a_triton_stream(
    service: Service, hanging: dict[str, Any]
):
    before = figure(service, "stream_terminated_total", protocol="triton", reason="deadline")
    requests = [ask(request_id="late", timeout=LATER, **hanging), ask(request_id="other")]
    replies = await triton_stream(service.triton_address, requests)
    assert [message for message, _ in replies if message] == [
        "The call was ended after 0.5 s, the longest it may last."
    ]
    answered = {response.id for message, response in replies if not message}
    assert answered == {"late", "other"}
    await gone(hanging)
    now = figure(service, "stream_terminated_total", protocol="triton", reason="deadline")
    assert now == before + 1


@pytest.mark.parametrize("triton", [False, True])
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
