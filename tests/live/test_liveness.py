"""A loop that stands still: who watches is answered all the same, and told when it is too long."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from tests.live.conftest import make_folder
from tests.live.rest_calls import path, probe
from tests.live.service import Service
from tests.live.watch import PATIENCE, wait_until


async def test_metrics_and_liveness_do_not_hang_on_the_models_loop(tmp_path: Path):
    folder = make_folder(
        tmp_path / "service", parallel_workers=0, streaming={"liveness_seconds": 2}
    )
    gate = tmp_path / "gate"
    with Service(folder, folder / "server.log") as service:
        watched = f"http://127.0.0.1:{service.metrics}"
        async with httpx.AsyncClient(timeout=PATIENCE) as client:

            async def live() -> httpx.Response:
                return await client.get(f"{watched}/v2/health/live")

            assert (await live()).status_code == 200
            holding = asyncio.create_task(
                client.post(service.url + path("process", "infer"), json=probe(block=str(gate)))
            )
            await wait_until(Path(f"{gate}.blocks").exists)
            # Busy, for all that one can tell: the metrics come, and then it is too long.
            assert "stream_active" in (await client.get(f"{watched}/metrics")).text
            async with asyncio.timeout(PATIENCE):
                while (stuck := await live()).status_code == 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert stuck.status_code == 503
            assert "liveness_seconds" in stuck.json()["error"]
            assert not holding.done()
            gate.touch()
            assert (await holding).status_code == 200
            async with asyncio.timeout(PATIENCE):
                while (await live()).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    log = service.log.read_text()
    # One server says it, though two are served.
    assert log.count("Finished server process") == log.count("Shutting down") == 1
    assert service.process.returncode == 0
