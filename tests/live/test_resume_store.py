"""Two services, a store, and a balancer before them: one is killed, and no word is lost."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import pytest
import websockets

from clients.grpc_client import GrpcTextClient
from clients.sse_client import SseClient
from clients.stream_place import StreamPlace
from tests.live.conftest import make_folder
from tests.live.service import ROOT, Service
from tests.redis_server import RedisServer, needs_redis

pytestmark = needs_redis
WORDS = [f"w{number}" if number == 1 else f" w{number}" for number in range(1, 201)]
ASKED = {"resumable": True, "delay": 0.01}
SECRET = "a secret of all replicas"


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Service]]:
    with RedisServer() as redis, ThreadPoolExecutor() as pool:
        store = {"url": redis.url, "lease_seconds": 1, "secret": SECRET}
        folder = make_folder(
            tmp_path_factory.mktemp("replicas"), streaming={"resume": {"store": store}}
        )
        for model in (folder / "model-settings").iterdir():
            if model.name != "text-model":
                shutil.rmtree(model)
        shutil.copytree(
            ROOT / "tests" / "live" / "kept_models", folder / "model-settings", dirs_exist_ok=True
        )
        both = [Service(folder, folder / f"{name}.log") for name in "ab"]
        try:
            list(pool.map(Service.start, both))
            yield both
        finally:
            for each in both:
                each.process.kill()
                each.process.wait()


@asynccontextmanager
async def balancer(*ports: int) -> AsyncIterator[int]:
    """A port whose connections go to the first of these that takes them."""
    tasks = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in ports:
            with suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", port)
                tasks.update(
                    asyncio.create_task(copy(*way)) for way in ((reader, back), (there, writer))
                )
                return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def over_sockets(port: int, prompt: str, has_begun: asyncio.Event) -> list[str]:
    """A stream's words, read on over another socket wherever one is lost."""
    uri = f"ws://127.0.0.1:{port}/v2/models/text-model/stream"
    ask = {"id": "1", "text_input": prompt, "own_stream": True, **ASKED}
    words: list[str] = []
    while True:
        with suppress(OSError, websockets.WebSocketException):
            async with websockets.connect(uri, compression=None) as socket:
                await socket.send(json.dumps(ask))
                async for message in socket:
                    answer = json.loads(message)
                    if answer.get("final"):
                        return words
                    if "error" in answer:
                        assert answer["error_code"] == 503, answer
                        break
                    words.append(answer["text_output"])
                    if len(words) == 20:
                        has_begun.set()
                    ask = {"id": "1", "resume": answer["resume_id"]}


async def test_a_replica_is_killed_and_the_words_come_whole_and_once(
    replicas: list[Service],
) -> None:
    first, second = replicas
    prompt = "".join(WORDS)
    sse, rpc = StreamPlace(), StreamPlace()
    counted: list[str] = []
    at_80 = asyncio.Event()

    async def over_sse(port: int, words: list[str], place: StreamPlace, model: str) -> None:
        client = SseClient(port=port, model=model)
        async for word in client.words(prompt, {**ASKED, "steps": 200}, place):
            words.append(word)
            if len(words) == 80 and model == "text-model":
                at_80.set()

    async with (
        balancer(first.http, second.http) as http,
        balancer(first.grpc, second.grpc) as grpc,
        GrpcTextClient(port=grpc) as client,
    ):

        async def over_grpc() -> list[str]:
            return [word async for word in client.words(prompt, ASKED, rpc)]

        words: list[str] = []
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            by_socket = tasks.create_task(over_sockets(http, prompt, has_begun := asyncio.Event()))
            await has_begun.wait()  # what the store does not know yet is lost
            tasks.create_task(over_sse(http, words, sse, "text-model"))
            again = StreamPlace()
            tasks.create_task(over_sse(http, counted, again, "again"))
            told = tasks.create_task(over_grpc())
            await at_80.wait()
            first.process.kill()
    assert words == WORDS
    assert told.result() == WORDS
    assert by_socket.result() == WORDS
    assert counted == [f"{number} " for number in range(1, 201)]
    for place in (sse, rpc, again):
        assert place.times and "came back to the stream" in place.summary()
