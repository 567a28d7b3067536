"""What was begun at one replica, read in OpenAI's events at another, over a real store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.openai.asgi import Asked, data, id_of, split
from tests.redis_server import RedisServer, needs_redis
from tests.resume.test_sharing import (  # noqa: F401 (the fixtures)
    Counting,
    N,
    Replica,
    Resuming,
    running,
    server,
    two,
)

pytestmark = needs_redis
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASK: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "resumable": True,
    "messages": [{"role": "user", "content": "a"}],
}
BEGUN = 11  # events behind which a model here waits: the role, and ten words


def at(replica: Replica) -> Asked:
    """The routes at a replica."""
    replica.plane.resume = replica.runs
    return Asked(replica.plane)


def text(events: list[str]) -> list[str]:
    """Who said each number, where the model says that, and the number."""
    chunks = [data(event) for event in events if "[DONE]" not in event]
    return [found for each in chunks if (found := each["choices"][0]["delta"].get("content"))]


async def test_a_replica_reads_on_what_another_one_runs(server: RedisServer, tmp_path: Path):  # noqa: F811
    async with two(server, tmp_path) as (a, b):
        found = await at(a).cut("POST", CHAT, 4, ASK)
        stream = id_of(found[0]).partition(".")[0]
        await a.runs.sharing.published.known(await a.runs.find(stream), 10)
        while len(found) < BEGUN:
            count = min(3, BEGUN - len(found))
            found += await at(b).cut("POST", CHAT, count, ASK, last_event_id=id_of(found[-1]))
        Counting.open.set()
        rest = await at(b)("GET", f"/v2/streams/{stream}", last_event_id=id_of(found[-1]))
        found += split(rest.text)
        assert [id_of(event) for event in found] == [f"{stream}.{n}" for n in range(1, N + 4)]
        assert text(found) == [str(number) for number in range(1, N + 1)]
        assert len({data(event)["id"] for event in found[:-1]}) == 1
        assert found[-1].endswith("[DONE]\n\n")
        over = await at(b)("GET", f"/v2/streams/{stream}", last_event_id=id_of(found[-1]))
        assert over.status_code == 204


async def test_a_replica_goes_on_where_another_one_died(server: RedisServer, tmp_path: Path):  # noqa: F811
    async with two(server, tmp_path, repeatable=True) as (a, b):
        found = await at(a).cut("POST", CHAT, BEGUN, ASK)
        stream = id_of(found[0]).partition(".")[0]
        await a.runs.sharing.published.known(await a.runs.find(stream), 10)
        a.die()
        Counting.open.set()
        found += split((await come_back(b, found)).text)
        assert [id_of(event) for event in found] == [f"{stream}.{n}" for n in range(1, N + 4)]
        assert text(found) == [str(number) for number in range(1, N + 1)]


async def test_a_stream_goes_on_under_another_id_behind_what_was_heard(
    server: RedisServer,  # noqa: F811
    tmp_path: Path,
):
    async with two(server, tmp_path, Resuming) as (a, b):
        found = await at(a).cut("POST", CHAT, BEGUN, ASK)
        a.die()
        stream = id_of(found[0]).partition(".")[0]
        Resuming.open.set()
        rest = split((await come_back(b, found)).text)
        moved = id_of(rest[0]).partition(".")[0]
        assert moved != stream
        assert [id_of(event) for event in rest] == [f"{moved}.{n}" for n in range(12, N + 4)]
        assert text(found + rest) == [
            f"{1 if number <= 10 else 2}:{number}" for number in range(1, N + 1)
        ]
        assert len({data(event)["id"] for event in (found + rest)[:-1]}) == 1
        # Who has more than was stored has heard something else than is said now.
        lost = await at(b)("GET", f"/v2/streams/{stream}", last_event_id=f"{stream}.{BEGUN + 1}")
        assert lost.status_code == 410
        assert "lost after response 10" in lost.json()["error"]


async def test_a_response_in_the_background_is_another_replicas_too(
    server: RedisServer,  # noqa: F811
    tmp_path: Path,
):
    async with two(server, tmp_path) as (a, b):
        asking = {"model": "m", "input": "a", "background": True}
        made = (await at(a)("POST", RESPONSES, asking)).json()["id"]
        run = await a.runs.find(made.removeprefix("resp_"))
        await a.runs.sharing.published.known(run, 10)
        found = (await at(b)("GET", f"{RESPONSES}/{made}")).json()
        assert (found["id"], found["status"]) == (made, "in_progress")
        assert found["output"][0]["content"][0]["text"] == "12345678910"
        cancelled = (await at(b)("POST", f"{RESPONSES}/{made}/cancel")).json()
        assert cancelled == found | {
            "status": "cancelled",
            "output": [found["output"][0] | {"status": "incomplete"}],
        }
        await run.until(float("inf"), 20)
        assert run.state == "cancelled"
        await a.runs.sharing.published._publishers[run.head.id].done()
        (await b.runs.find(run.head.id)).forget()  # as it does where nobody reads it
        for replica in (a, b):
            assert (await at(replica)("GET", f"{RESPONSES}/{made}")).json() == cancelled
        (listed,) = (await b.runs.own()).streams
        assert listed.state == "cancelled"


@pytest.mark.parametrize("streams", [True, False])
async def test_one_that_nobody_can_go_on_with_is_lost(
    server: RedisServer,  # noqa: F811
    tmp_path: Path,
    streams: bool,
):
    async with two(server, tmp_path) as (a, b):
        asking = {"model": "m", "input": "a", "background": True}
        made = (await at(a)("POST", RESPONSES, asking)).json()["id"]
        await a.runs.sharing.published.known(await a.runs.find(made.removeprefix("resp_")), 10)
        a.die()
        found = await at(b)("GET", f"{RESPONSES}/{made}?stream={str(streams).lower()}")
        while found.status_code == 200:
            # Its lease has not run out yet.
            found = await at(b)("GET", f"{RESPONSES}/{made}?stream={str(streams).lower()}")
        assert found.status_code == 410
        deleted = await at(b)("DELETE", f"{RESPONSES}/{made}")
        assert (deleted.status_code, deleted.json()["deleted"]) == (200, True)
        assert (await at(b)("GET", f"{RESPONSES}/{made}")).status_code == 404
        assert "lost after response 10" in found.json()["error"]["message"]


async def come_back(replica: Replica, found: list[str]) -> Any:
    """What comes behind the last event, once the other's lease has run out."""
    stream = id_of(found[0]).partition(".")[0]
    while True:
        rest = await at(replica)("GET", f"/v2/streams/{stream}", last_event_id=id_of(found[-1]))
        if "come back" not in rest.text:
            return rest
