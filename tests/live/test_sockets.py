"""WebSockets of the real service: its models, its figures, its end."""

from __future__ import annotations

import asyncio
import json
import signal
import struct
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.images import jpeg
from tests.live.rest_calls import open_gate, tensor
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import closed, steps, wait_until

PATIENCE = 20


def connect(service: Service, model: str, **arguments: Any) -> Any:
    uri = f"ws://127.0.0.1:{service.http}/v2/models/{model}/stream"
    return websockets.connect(uri, compression=None, max_size=None, **arguments)


async def heard(socket: Any, count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [json.loads(await socket.recv()) for _ in range(count)]


async def test_text_and_pictures_on_one_socket(service: Service) -> None:
    before = figure(service, "stream_responses_total", protocol="websocket")
    async with connect(service, "text-model", subprotocols=["v2.stream"]) as socket:
        flat = {"id": "t", "text_input": "one two", "parameters": {"delay": 0}}
        await socket.send(json.dumps(flat))
        found = await heard(socket, 2)
        assert [each["text_output"] for each in found] == ["one", " two"]
        picture = jpeg()
        raw = struct.pack("<I", len(picture)) + picture
        described = tensor("image", []) | {
            "shape": [1],
            "parameters": {"binary_data_size": len(raw)},
        }
        del described["data"]
        for number in range(2):
            head = {
                "id": str(number),
                "model_name": "jpeg-model",
                "inputs": [described],
                "parameters": {"binary_data_output": True},
            }
            encoded = json.dumps(head).encode()
            await socket.send(struct.pack("<I", len(encoded)) + encoded + raw)
            async with asyncio.timeout(PATIENCE):
                answer = await socket.recv()
            (length,) = struct.unpack("<I", answer[:4])
            assert json.loads(answer[4 : 4 + length])["id"] == str(number)
            assert answer[4 + length + 4 :].startswith(b"\xff\xd8")
        await socket.send(json.dumps({"end": True}))
        async with asyncio.timeout(PATIENCE):
            await socket.wait_closed()
        assert socket.close_code == 1000
    after = figure(service, "stream_responses_total", protocol="websocket")
    assert after - before == 4
    line = 'id=t model=text-model version="" protocol=websocket'
    await wait_until(lambda: line in service.log.read_text())


async def test_a_hang_up_stops_the_model(service: Service, tmp_path: Path) -> None:
    seen, gate = tmp_path / "did", tmp_path / "gate"
    asked = {"steps": 9, "gate": str(gate), "path": str(seen)}
    async with connect(service, "probe") as socket:
        await socket.send(json.dumps({"inputs": [tensor("x", ["x"])], "parameters": asked}))
        await wait_until(lambda: steps(seen))
        socket.transport.abort()
    await wait_until(lambda: closed(seen))


async def test_the_path_without_an_upgrade_says_so(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.http)
    writer.write(b"GET /v2/models/text-model/stream HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 426 ")
    assert b"upgrade: websocket" in head.lower()
    writer.close()


async def test_a_stop_lets_answers_come_and_says_come_back(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "service", streaming={"drain_seconds": 15})
    seen, gate = tmp_path / "did", tmp_path / "gate"
    asked = {"steps": 2, "gate": str(gate), "path": str(seen)}
    with WarmService(folder, folder / "server.log") as service:
        async with connect(service, "probe") as busy, connect(service, "text-model") as idle:
            await busy.send(json.dumps({"inputs": [tensor("x", ["x"])], "parameters": asked}))
            await wait_until(lambda: steps(seen))
            service.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                await idle.wait_closed()
            assert idle.close_code == 1012
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with connect(service, "text-model"):
                    pass
            assert refused.value.response.status_code == 503
            open_gate(gate, 0)
            open_gate(gate, 1)
            assert len(await heard(busy, 2)) == 2
            async with asyncio.timeout(PATIENCE):
                await busy.wait_closed()
            assert (busy.close_code, busy.close_reason) == (
                1012,
                "The service restarts; come back.",
            )
        assert await asyncio.to_thread(service.process.wait, 30) == 0
