"""Two services, a store, and a balancer before them: either is killed, and no word is lost."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Self

import httpx
import pytest
import websockets

from clients.errors import RefusedError
from clients.grpc_client import GrpcTextClient
from clients.sse_client import SseClient
from clients.stream_place import StreamPlace
from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.rest_calls import path
from tests.live.service import ROOT, Service
from tests.live.watch import PATIENCE, wait_until
from tests.redis_server import RedisServer, needs_redis

pytestmark = needs_redis
WORDS = [f"w{number}" if number == 1 else f" w{number}" for number in range(1, 201)]
ASKED = {"resumable": True, "delay": 0.01}
NOT_NOW = {"prefer": "respond-async"}
SECRET = "a secret of all replicas"


# Streams beside those that are looked at closely.
CROWD, CROWD_WORDS = 47, 40


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="module")
def replicas(
    redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Service]]:
    with ThreadPoolExecutor() as pool:
        # On a machine that others keep busy.
        patient = {"timeout_seconds": 2, "lease_seconds": 3}
        store = {"url": redis.url, "secret": SECRET, **patient}
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
    tasks, writers = set(), set[asyncio.StreamWriter]()

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
        writers.add(writer)
        for port in ports:
            with suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", port)
                writers.add(back)
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
        for writer in writers:
            writer.close()


class Crowd:
    """Clients, each with a stream of a model that can go on with what was said, says it again, or
    can do neither.

    Attributes:
        lost: what those were told whose stream could not go on.
    """

    def __init__(self, port: int, models: tuple[str, ...]) -> None:
        self.lost: list[str] = []
        self._port, self._models = port, models
        self._told: list[tuple[str, list[str]]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._ask(self._models[number % len(self._models)]))
            for number in range(CROWD)
        ]
        return self

    async def __aexit__(self, *failure: object) -> None:
        """All have ended: their words came whole and once, or in part and they know."""
        await asyncio.gather(*self._tasks)
        for model, words in self._told:
            said = WORDS if model == "text-model" else [f"{n} " for n in range(1, CROWD_WORDS + 1)]
            assert words == said[: len(words)]
        assert sum(len(words) < CROWD_WORDS for _, words in self._told) == len(self.lost)

    async def _ask(self, model: str) -> None:
        words: list[str] = []
        self._told.append((model, words))
        client = SseClient(port=self._port, model=model)
        asked = {**ASKED, "delay": 0.05, "steps": CROWD_WORDS}
        try:
            async for word in client.words("".join(WORDS[:CROWD_WORDS]), asked, StreamPlace()):
                words.append(word)
        except RefusedError as error:
            assert error.status == 410
            self.lost.append(str(error))

    async def all_hear(self, number: int) -> None:
        """Each has so many words, or has ended."""
        await wait_until(
            lambda: [len(words) >= number for _, words in self._told] == [True] * CROWD
        )


async def test_the_store_is_killed_amid_fifty_streams_and_comes_back_empty(
    redis: RedisServer, replicas: list[Service]
) -> None:
    first, second = replicas
    async with Crowd(first.http, ("text-model", "again", "once")) as crowd:
        await crowd.all_hear(5)
        redis.kill()
        async with httpx.AsyncClient(base_url=first.url, timeout=PATIENCE) as client:
            listed = await client.get("/v2/streams")
            assert listed.headers["x-streams-partial"] == "true"
            assert len(listed.json()) >= CROWD
            there = "/v2/streams/" + listed.json()[0]["id"]
            elsewhere = await client.delete(second.url + there)
            assert elsewhere.status_code in (204, 503)  # it was asked there, or cannot know
        redis.start()
    assert crowd.lost == []


async def test_streams_are_shared_again_once_the_store_is_back(replicas: list[Service]) -> None:
    first, second = replicas
    at = path("text-model", "generate_stream")
    body = {"text_input": "a b c", "parameters": {"resumable": True, "delay": 0}}
    async with httpx.AsyncClient(timeout=PATIENCE) as client, asyncio.timeout(PATIENCE):
        while True:
            begun = await client.post(first.url + at, json=body, headers=NOT_NOW)
            found = await client.head(second.url + begun.headers["location"])
            if found.is_success:
                read = await client.get(second.url + begun.headers["location"])
                if read.status_code != 503:  # its sentence says to come back in a moment
                    break
            await asyncio.sleep(0.1)
        said = read.text
        data = [line[6:] for line in said.splitlines() if line.startswith("data: ")]
        assert [json.loads(each)["text_output"] for each in data] == ["a", " b", " c"], said
        listed = await client.get(second.url + "/v2/streams")
        assert "x-streams-partial" not in listed.headers
        assert (await client.delete(second.url + begun.headers["location"])).status_code == 204
        gone = await client.get(second.url + begun.headers["location"])
        assert gone.status_code == 404
    assert figure(second, "resume_store_up") == 1


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
        crowd = Crowd(http, ("text-model", "again", "once"))
        async with asyncio.timeout(2 * PATIENCE), asyncio.TaskGroup() as tasks, crowd:
            by_socket = tasks.create_task(over_sockets(http, prompt, has_begun := asyncio.Event()))
            tasks.create_task(over_sse(http, words, sse, "text-model"))
            again = StreamPlace()
            tasks.create_task(over_sse(http, counted, again, "again"))
            told = tasks.create_task(over_grpc())
            await at_80.wait()
            await has_begun.wait()  # what the store does not know yet is lost
            await crowd.all_hear(5)
            first.process.kill()
    assert words == WORDS
    assert told.result() == WORDS
    assert by_socket.result() == WORDS
    assert counted == [f"{number} " for number in range(1, 201)]
    for place in (sse, rpc, again):
        assert place.times and "came back to the stream" in place.summary()
    assert all("was lost after response" in each for each in crowd.lost)
