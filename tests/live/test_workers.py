"""Worker processes: which one answers, what becomes of its streams when it dies, what follows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.grpc_calls import raw_request, stream, triton_stream
from tests.live.processes import alive, workers
from tests.live.rest_calls import events, open_gate, path, probe, prompt
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import PATIENCE, closed, steps, wait_until

LOST = "The worker that answered this was lost; ask again."


def serving(folder: Path) -> Service:
    """Two workers, which are replaced often: without the model that takes long to load."""
    make_folder(folder, parallel_workers=2)
    shutil.rmtree(folder / "model-settings" / "speech-model")
    return WarmService(folder, folder / "server.log")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("workers") / "service") as running:
        yield running


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE, limits=limits) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def both_work(service: Service) -> None:
    """Each test begins with two workers that take streams."""
    await two_workers(service)


async def two_workers(service: Service) -> set[int]:
    """Wait for both; their process ids."""
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
        async with asyncio.timeout(3 * PATIENCE):
            while True:
                try:
                    # Asked one after another, they take turns.
                    found = {await pid_of(client) for _ in range(4)}
                    if len(found) == 2:
                        return found
                except (AssertionError, httpx.TransportError):
                    await asyncio.sleep(0.05)


async def pid_of(client: httpx.AsyncClient, **parameters: Any) -> int:
    """The process that answers a unary call."""
    answer = await client.post(path("process", "infer"), json=probe(**parameters))
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["outputs"][0]["data"][0]
    return found


class Running:
    """A stream whose first response has come and that waits for its gate."""

    def __init__(self, pid: int, rest: asyncio.Task[str]):
        self.pid = pid
        self.rest = rest


@asynccontextmanager
async def running(
    client: httpx.AsyncClient, gate: Path, count: int
) -> AsyncIterator[list[Running]]:
    """So many streams of two responses over REST."""
    found: list[Running] = []
    async with asyncio.TaskGroup() as tasks:

        async def one(begun: asyncio.Future[int]) -> str:
            body = probe(steps=2, gate=str(gate))
            async with client.stream("POST", path("process", "infer_stream"), json=body) as answer:
                text = ""
                async for line in answer.aiter_lines():
                    text += line + "\n"
                    if not begun.done():
                        begun.set_result(events(line)[0]["outputs"][0]["data"][0])
                return text

        for _ in range(count):
            begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            rest = tasks.create_task(one(begun))
            found.append(Running(await begun, rest))
        yield found


def message(**parameters: Any) -> Any:
    return raw_request("process", "x", [b"x"], **parameters)


async def test_streams_spread_over_the_workers(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
):
    async with running(client, tmp_path / "gate", 20) as streams:
        assert sorted(Counter(each.pid for each in streams).values()) == [10, 10]
        open_gate(tmp_path / "gate", 1)
    assert {each.rest.result().count("data: ") for each in streams} == {2}
    assert service.process.pid not in {each.pid for each in streams}


async def test_a_killed_worker_fails_only_its_own_streams_and_sequences(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
):
    gate = tmp_path / "gate"
    wanted = {"steps": 2, "gate": str(gate)}
    ids = range(1, 6)
    homes = {id: await pid_of(client, sequence_id=id, sequence_start=True) for id in ids}
    assert len(set(homes.values())) == 2
    assert figure(service, "sequences_active", model_name="process") == 5
    # Two more on other wires; they go where there is least to do, one to each.
    over_grpc = [
        asyncio.create_task(stream(service.grpc_address, [message(**wanted)])) for _ in range(2)
    ]
    over_triton = [
        asyncio.create_task(triton_stream(service.triton_address, [message(**wanted)]))
        for _ in range(2)
    ]
    async with running(client, gate, 16) as streams:
        victim = streams[0].pid
        os.kill(victim, signal.SIGKILL)
        lost = [each for each in streams if each.pid == victim]
        for each in lost:
            said = (await each.rest).rstrip().split("\n\n")
            assert said[-1] == f'event: error\ndata: {{"error":"{LOST}"}}'
        assert 4 <= len(lost) <= 12
        for id, home in homes.items():
            answer = await client.post(path("process", "infer"), json=probe(sequence_id=id))
            if home == victim:
                assert answer.status_code == 400
                assert "must specify the START flag" in answer.json()["error"]
            else:
                assert answer.json()["outputs"][0]["data"] == [home]
        alive_ones = sum(home != victim for home in homes.values())
        assert figure(service, "sequences_active", model_name="process") == alive_ones
        open_gate(gate, 1)
    kept = [each for each in streams if each.pid != victim]
    assert {each.rest.result().count("data: ") for each in kept} == {2}
    native = await asyncio.gather(*over_grpc, return_exceptions=True)
    failed = [each for each in native if isinstance(each, grpc.aio.AioRpcError)]
    assert {(each.code(), each.details()) for each in failed} <= {
        (grpc.StatusCode.UNAVAILABLE, LOST)
    }
    dialect = [replies[-1][0] for replies in await asyncio.gather(*over_triton)]
    assert len(failed) + dialect.count(LOST) >= 1
    assert [error for error in dialect if error] == [LOST] * dialect.count(LOST)
    now = await two_workers(service)
    assert victim not in now and not alive(victim)
    for id, home in homes.items():
        if home != victim:
            assert await pid_of(client, sequence_id=id, sequence_end=True) == home
    # The new one has all models.
    for _ in range(4):
        assert (await client.post(path("text-model", "infer"), json=prompt())).status_code == 200


async def test_resumable_streams_go_on_when_all_workers_have_been_killed(
    service: Service, client: httpx.AsyncClient
):
    words = " ".join(f"w{number}" for number in range(60))
    parameters = {"resumable": True, "delay": 0.02}
    tenth = asyncio.Event()

    async def ask() -> list[str]:
        said = []
        body = {"text_input": words, "parameters": parameters}
        at = path("text-model", "generate_stream")
        async with client.stream("POST", at, json=body) as answer:
            async for line in answer.aiter_lines():
                assert not line.startswith("event:"), said
                if line.startswith("data:"):
                    said.append(json.loads(line.removeprefix("data:"))["text_output"])
                if len(said) == 10:
                    tenth.set()
        return said

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask()) for _ in range(8)]
        await tenth.wait()
        # First one's are gone on with in the other, then nobody is there for a while.
        for pid in workers(service):
            os.kill(pid, signal.SIGKILL)
    assert ["".join(each.result()) for each in asked] == [words] * 8


async def test_all_requests_of_a_sequence_go_to_its_worker_from_any_stream(
    service: Service, client: httpx.AsyncClient
):
    homes = {id: await pid_of(client, sequence_id=id, sequence_start=True) for id in "abcd"}
    assert sorted(Counter(homes.values()).values()) == [2, 2]
    requests = [message(request_id=id * n, sequence_id=id) for n in (1, 2, 3) for id in "abcd"]
    ends = [message(request_id=f"{id}-end", sequence_id=id, sequence_end=True) for id in "abcd"]
    replies = await stream(service.grpc_address, [*requests, *ends])
    assert len(replies) == 16
    for id, home in homes.items():
        own = [reply for reply in replies if reply.id[0] == id]
        assert [reply.id for reply in own] == [id, id * 2, id * 3, f"{id}-end"]
        pids = {int.from_bytes(reply.raw_output_contents[0], "little") for reply in own}
        assert pids == {home}
    await wait_until(lambda: figure(service, "sequences_active", model_name="process") == 0)


async def test_a_worker_that_ends_itself_is_replaced_and_what_it_counted_stays(
    client: httpx.AsyncClient, service: Service
):
    before = await two_workers(service)
    counted = figure(service, "process_asked_total")
    assert {await pid_of(client) for _ in range(6)} == before
    assert figure(service, "process_asked_total") == counted + 6
    answer = await client.post(path("process", "infer"), json=probe(exit=0))
    assert (answer.status_code, answer.json()["error"]) == (503, LOST)
    assert answer.headers["retry-after"] == "1"
    assert figure(service, "process_asked_total") >= counted + 6
    after = await two_workers(service)
    assert len(before & after) == 1


async def test_both_killed_at_once(client: httpx.AsyncClient, service: Service, tmp_path: Path):
    before = await two_workers(service)
    async with running(client, tmp_path / "gate", 4) as streams:
        for pid in before:
            os.kill(pid, signal.SIGKILL)
    assert {"event: error" in each.rest.result() for each in streams} == {True}
    # Nobody is left: that is said at once, and where probes look for it.
    refused = await client.post(path("process", "infer"), json=probe())
    assert refused.status_code == 503
    assert (await client.get("/v2/health/ready")).status_code == 503
    after = await two_workers(service)
    assert not before & after
    assert (await client.get("/v2/health/ready")).status_code == 200


async def test_a_worker_that_will_not_start_is_tried_again_and_again_but_not_at_once(
    tmp_path: Path,
):
    # A service of its own: each worker that is lost young makes the next one wait longer.
    with serving(tmp_path / "service") as service:
        await two_workers(service)
        poison = service.folder / "poison"
        poison.touch()
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
            os.kill(await pid_of(client), signal.SIGKILL)
            await wait_until(lambda: service.log.read_text().count("did not get ready") == 2)
            assert "could not start: exit status 3." in service.log.read_text()
            # The other one goes on, alone.
            assert len({await pid_of(client) for _ in range(4)}) == 1
        assert len(workers(service)) <= 2
        poison.unlink()
        await two_workers(service)


async def test_a_model_that_holds_up_its_worker_holds_up_nobody_else(
    client: httpx.AsyncClient, service: Service, tmp_path: Path
):
    held_up = service.log.read_text().count("has not answered")
    stop = tmp_path / "stop"
    blocking = asyncio.create_task(pid_of(client, block=str(stop)))
    await wait_until(lambda: (tmp_path / "stop.blocks").exists())
    await wait_until(lambda: service.log.read_text().count("has not answered") > held_up)
    pids = await asyncio.gather(*(pid_of(client) for _ in range(30)))
    streamed = await asyncio.gather(
        *(stream(service.grpc_address, [message(steps=5)]) for _ in range(10))
    )
    assert {len(replies) for replies in streamed} == {5}
    assert not blocking.done()
    stop.touch()
    assert set(pids) == workers(service) - {await blocking}


async def test_a_client_that_hangs_up_closes_the_generator_in_the_worker(
    client: httpx.AsyncClient, tmp_path: Path
):
    seen = tmp_path / "did"
    body = probe(steps=2, gate=str(tmp_path / "never"), path=str(seen))
    async with client.stream("POST", path("probe", "infer_stream"), json=body) as answer:
        async for _ in answer.aiter_lines():
            break
    await wait_until(lambda: closed(seen))
    assert steps(seen) == 1


async def test_what_a_model_raises_is_told_as_in_one_process(
    client: httpx.AsyncClient, service: Service
):
    refused = await client.post(path("probe", "infer_stream"), json=probe(refuse_at=0))
    assert (refused.status_code, refused.json()["error"]) == (503, "the probe was told to refuse")
    failed = await client.post(
        path("probe", "infer_stream"), json={**probe(fail_at=0), "id": "of-mine"}
    )
    assert failed.status_code == 500
    assert failed.json()["error"] == (
        "The service failed on request 'of-mine'; its log says why under that id."
    )
    log = service.log.read_text()
    assert "Request 'of-mine' to model 'probe'" in log
    assert "ValueError: a secret that no client may see" in log


async def test_a_custom_handler_runs_in_a_worker(client: httpx.AsyncClient, service: Service):
    pids = set()
    for _ in range(4):
        answer = await client.post("/process/who", params={"name": "me"})
        pids.add(int(answer.json().removeprefix("me: ")))
    assert pids == workers(service)
    failed = await client.post("/process/who", params={"name": "nobody"})
    assert failed.status_code == 500
    assert "secret" not in failed.text


async def test_a_model_that_cannot_be_loaded_again_serves_on(
    client: httpx.AsyncClient, service: Service
):
    refuse = service.folder / "refuse"
    refuse.touch()
    load = "/v2/repository/models/process/load"
    answer = await client.post(load)
    assert (answer.status_code, answer.json()) == (
        422,
        {
            "error": "Model 'process' cannot be loaded: model-settings/process/process.py, "
            "line 36: the model was told to refuse"
        },
    )
    assert {await pid_of(client) for _ in range(4)} == workers(service)
    refuse.unlink()
    assert (await client.post(load)).status_code == 200
    assert {await pid_of(client) for _ in range(4)} == workers(service)


async def test_large_tensors_cross_as_they_are(client: httpx.AsyncClient):
    numbers = [float(n % 97) for n in range(3 * 640 * 640)]
    body = {
        "inputs": [
            {"name": "x", "shape": [1, 3, 640, 640], "datatype": "FP32", "data": numbers},
        ]
    }
    answer = await client.post(path("tensor-sum", "infer"), json=body)
    total, least, most = answer.json()["outputs"][0]["data"]
    assert (least, most) == (0.0, 96.0)
    assert total == pytest.approx(sum(numbers), rel=1e-4)


async def test_workers_end_with_a_service_that_is_killed_also_one_that_is_held_up(tmp_path: Path):
    folder = make_folder(tmp_path / "service", parallel_workers=2)
    with Service(folder, folder / "server.log") as service:
        left = workers(service)
        assert len(left) == 2
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
            body = probe(block=str(tmp_path / "never"))
            held_up = asyncio.create_task(client.post(path("process", "infer"), json=body))
            await wait_until(lambda: (tmp_path / "never.blocks").exists())
            service.process.kill()
            with pytest.raises(httpx.TransportError):
                await held_up
        await wait_until(lambda: not any(map(alive, left)))
