"""A live service at its limits: who is refused, when, with what; who waits gets a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.grpc_calls import infer, stream, text_request, triton_stream, words
from tests.live.rest_calls import events, open_gate, path, probe, prompt
from tests.live.service import Service
from tests.live.sockets import connect, request
from tests.live.warm import WarmService
from tests.live.watch import steps, wait_until

Ask = Callable[[Service, dict[str, Any]], Awaitable[int]]
KIB = 1024
STATUS = {grpc.StatusCode.RESOURCE_EXHAUSTED: 429, grpc.StatusCode.DEADLINE_EXCEEDED: 504}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two streams at once, one that waits, 64 KiB a request."""
    limits = {"streams": 2, "waiting": 1, "request_bytes": 64 * KIB}
    folder = make_folder(tmp_path_factory.mktemp("few"), streaming={"limits": limits})
    with WarmService(folder, folder / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def one_each(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One stream to a model, nobody waits."""
    limits = {"streams_per_model": 1, "waiting": 0}
    folder = make_folder(tmp_path_factory.mktemp("one"), streaming={"limits": limits})
    with WarmService(folder, folder / "server.log") as running:
        yield running


# How each edge is asked, and the status that it answers with, in HTTP's words.


async def unary(service: Service, parameters: dict[str, Any]) -> int:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        answer = await client.post(path("probe", "infer"), json=probe(**parameters))
        return checked(answer)


async def sse(service: Service, parameters: dict[str, Any]) -> int:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        answer = await client.post(path("probe", "infer_stream"), json=probe(**parameters))
        return checked(answer)


def checked(answer: httpx.Response) -> int:
    """Refusals are JSON, and say when to come back."""
    if answer.status_code != 200:
        assert answer.json()["error"]
    assert ("retry-after" in answer.headers) is (answer.status_code == 429)
    return answer.status_code


async def grpc_unary(service: Service, parameters: dict[str, Any]) -> int:
    return await status(infer(service.grpc_address, asked(parameters)))


async def grpc_stream(service: Service, parameters: dict[str, Any]) -> int:
    return await status(stream(service.grpc_address, [asked(parameters)]))


async def triton(service: Service, parameters: dict[str, Any]) -> int:
    return await status(triton_stream(service.triton_address, [asked(parameters)]))


def asked(parameters: dict[str, Any]) -> Any:
    return text_request("x", model="probe", **parameters)


async def status(call: Awaitable[Any]) -> int:
    try:
        found = await call
    except grpc.aio.AioRpcError as error:
        return STATUS[error.code()]
    for reply in found if isinstance(found, list) else []:
        if isinstance(reply, tuple) and "as many streams" in reply[0]:
            return 429  # Triton's streams outlive the failure of a request
    return 200


EDGES = [unary, sse, grpc_unary, grpc_stream, triton]


@asynccontextmanager
async def held(service: Service, folder: Path, count: int) -> AsyncIterator[list[Path]]:
    """So many streams that have begun and go on until their gate is opened."""
    gates = [folder / f"gate{index}." for index in range(count)]
    tasks = []
    for gate in gates:
        seen = gate.with_name(f"{gate.name}seen")
        body = {"steps": 2, "gate": str(gate), "path": str(seen)}
        tasks.append(asyncio.create_task(sse(service, body)))
        await wait_until(lambda seen=seen: steps(seen) == 1)
    yield gates
    for gate in gates:
        open_gate(gate, 1)
    assert await asyncio.gather(*tasks) == [200] * count


@pytest.mark.parametrize("ask", EDGES)
async def test_over_the_limit_one_waits_and_gets_its_turn_and_one_is_refused(
    few: Service, tmp_path: Path, ask: Ask
):
    async with held(few, tmp_path, 2) as gates:
        asking = [asyncio.create_task(ask(few, {"steps": 1})) for _ in range(2)]
        done, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [429]
        [waits] = waiting
        open_gate(gates[0], 1)
        assert await waits == 200


async def test_who_is_refused_is_refused_before_its_body_is_read(few: Service, tmp_path: Path):
    async with held(few, tmp_path, 2) as gates:
        waiting = asyncio.create_task(sse(few, {"steps": 1}))
        another = asyncio.create_task(sse(few, {"steps": 1}))
        await asyncio.wait([waiting, another], return_when=asyncio.FIRST_COMPLETED)
        reader, writer = await connect(few)
        # Says that 1,000 bytes come, and sends none.
        writer.write(request(path("probe", "infer"), b"", length=1000))
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 1" in head.lower()
        writer.close()
        await writer.wait_closed()
        open_gate(gates[0], 1)
        assert sorted([await waiting, await another]) == [200, 429]


async def test_refusals_are_counted_once_and_under_no_name(few: Service, tmp_path: Path):
    labels = {"reason": "rejected", "protocol": "rest"}
    before = figure(few, "stream_terminated_total", **labels)
    async with held(few, tmp_path, 2) as gates:
        asking = [asyncio.create_task(sse(few, {})) for _ in range(2)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        open_gate(gates[0], 1)
        await asyncio.gather(*asking)
    assert figure(few, "stream_terminated_total", **labels) == before + 1
    assert figure(few, "stream_terminated_total", model_name="", **labels) == before + 1


@pytest.mark.parametrize("ask", EDGES)
async def test_a_model_has_a_limit_of_its_own(one_each: Service, tmp_path: Path, ask: Ask):
    async with held(one_each, tmp_path, 1):
        assert await ask(one_each, {}) == 429
        said = await stream(one_each.grpc_address, [text_request("still here")])
        assert words(said) == ["still", " here"]
    assert await ask(one_each, {}) == 200


async def test_a_stream_of_several_models_fails_at_the_one_that_has_no_slot(
    one_each: Service, tmp_path: Path
):
    async with held(one_each, tmp_path, 1):
        requests = [text_request("a b"), asked({})]
        replies = await triton_stream(one_each.triton_address, requests)
    failed = [message for message, _ in replies if message]
    assert len(failed) == 1 and "to model 'probe'" in failed[0]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("call", ["infer", "generate_stream"])
async def test_a_body_past_its_limit_is_refused(few: Service, call: str, chunked: bool):
    body = b'{"text_input": "' + b"x" * 64 * KIB + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    async with httpx.AsyncClient(base_url=few.url) as client:
        content = chunks() if chunked else body
        answer = await client.post(path("text-model", call), content=content)
    assert answer.status_code == 413
    assert "65536 bytes" in answer.json()["error"]


@pytest.mark.parametrize("call", ["infer", "stream", "triton"])
async def test_a_message_past_its_limit_is_refused(few: Service, call: str):
    large, small = text_request("x" * 64 * KIB), text_request("a b")
    calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
        "infer": lambda message: infer(few.grpc_address, message),
        "stream": lambda message: stream(few.grpc_address, [message]),
        "triton": lambda message: triton_stream(few.triton_address, [message]),
    }
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calls[call](large)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await calls[call](small)


async def test_a_stream_of_many_requests_that_is_refused_gets_its_status(
    few: Service, tmp_path: Path
):
    """A client that goes on writing must hear why nobody listens."""
    async with held(few, tmp_path, 2) as gates:
        asking = [asyncio.create_task(sse(few, {})) for _ in range(2)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(10):
            requests = [text_request("x" * KIB) for _ in range(50)]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream(few.grpc_address, requests)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        open_gate(gates[0], 1)
        await asyncio.gather(*asking)


def test_a_refused_stream_is_no_event(few: Service) -> None:
    answer = httpx.post(f"{few.url}{path('text-model', 'generate_stream')}", json=prompt("a b"))
    assert len(events(answer.text)) == 2
