"""Workers that live and do nothing: their streams end, and others take their places."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.processes import alive, workers
from tests.live.rest_calls import path, probe
from tests.live.service import Service
from tests.live.watch import PATIENCE, wait_until

LOST = "The worker that answered this was lost; ask again."
HEARTBEAT_SECONDS = 1.5


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = make_folder(
        tmp_path_factory.mktemp("stuck") / "service",
        parallel_workers=2,
        streaming={"workers": {"heartbeat_seconds": HEARTBEAT_SECONDS}},
    )
    shutil.rmtree(folder / "model-settings" / "speech-model")
    with Service(folder, folder / "server.log") as running:
        yield running


async def ask(service: Service, call: str, **parameters: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=service.url, timeout=3 * PATIENCE) as client:
        return await client.post(path("process", call), json=probe(**parameters))


async def two_that_answer(service: Service, but: set[int]) -> set[int]:
    """Wait for two workers, none of these; their process ids."""
    async with asyncio.timeout(3 * PATIENCE):
        while True:
            answers = [await ask(service, "infer") for _ in range(4)]
            if {answer.status_code for answer in answers} == {200}:
                found = {answer.json()["outputs"][0]["data"][0] for answer in answers}
                if len(found) == 2 and not found & but:
                    return found


async def test_one_that_is_stopped(service: Service, tmp_path: Path):
    before = await two_that_answer(service, set())
    gate = tmp_path / "gate"
    streams = [
        asyncio.create_task(ask(service, "generate_stream", steps=2, gate=str(gate)))
        for _ in range(2)
    ]
    async with httpx.AsyncClient(base_url=service.url, timeout=3 * PATIENCE) as client:
        await wait_until(lambda: len(workers(service)) == 2)
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        loaded = asyncio.create_task(client.post("/v2/repository/models/process/load"))
        for stream in streams:
            answer = await stream
            assert LOST in answer.text
        # It may have been asked of workers that stood still, and of none that came after them.
        assert (await loaded).status_code in (200, 503)
        after = await two_that_answer(service, before)
        assert (await client.post("/v2/repository/models/process/load")).status_code == 200
    assert not any(map(alive, before))
    assert all(map(alive, after))
    log = service.log.read_text()
    assert "has shown no sign of life for 1.5 s, and is ended." in log
    assert "was lost (SIGKILL). Another is started" in log


async def test_one_that_c_code_holds(service: Service):
    before = await two_that_answer(service, set())
    answer = await ask(service, "infer", hold=True)
    assert (answer.status_code, answer.json()["error"]) == (503, LOST)
    async with asyncio.timeout(3 * PATIENCE):
        while len(before & await two_that_answer(service, set())) != 1:
            pass


async def test_one_that_works_in_python_for_longer_is_left_alone(service: Service, tmp_path: Path):
    before = await two_that_answer(service, set())
    gates = [tmp_path / "one", tmp_path / "other"]
    asked = [asyncio.create_task(ask(service, "infer", block=str(gate))) for gate in gates]
    await wait_until(lambda: all(Path(f"{gate}.blocks").exists() for gate in gates))
    # The fault itself: longer than a heart may be silent.
    await asyncio.sleep(2 * HEARTBEAT_SECONDS)
    for gate in gates:
        gate.touch()
    for answer in await asyncio.gather(*asked):
        assert answer.status_code == 200
        assert answer.json()["outputs"][0]["data"][0] in before
