"""Two replicas and a real store between them: read elsewhere, taken over, handed over, and faults.

A replica here is its `Runs` and its connections to the store; both ask the same models.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from mlserver_streaming.access import callers
from mlserver_streaming.access.callers import ANYBODY, Caller
from mlserver_streaming.errors import (
    CatchingUpError,
    DeadlineError,
    LostStreamError,
    MLServerError,
    MovedError,
    NoSuchStreamError,
    StillAheadError,
    StoreLostError,
)
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import TEXT, bytes_output
from mlserver_streaming.resume import sharing
from mlserver_streaming.resume.opening import share
from mlserver_streaming.resume.position import Position
from mlserver_streaming.resume.redis_store import PREFIX
from mlserver_streaming.resume.runs import Runs
from mlserver_streaming.resume.store import StoreError
from mlserver_streaming.settings import StreamingSettings
from mlserver_streaming.streams.answers import One
from tests.redis_server import RedisServer, needs_redis
from tests.streams.planes import ask, plane_of

pytestmark = needs_redis
N = 50


class Counting(StreamingModel):
    """Says 1 to N; behind `gate` it waits until that is opened. `asked` is how often."""

    gate = 10
    open = asyncio.Event()
    asked = 0

    async def respond(self, request, sequence, said=0):
        type(self).asked += 1
        run = self.asked
        for number in range(said + 1, N + 1):
            if number == self.gate + 1:
                await type(self).open.wait()
            yield self.response(request, [bytes_output("y", [self.word(run, number)], TEXT)])

    def word(self, run: int, number: int) -> str:
        return str(number)


class Resuming(Counting):
    """Goes on, in words of its own."""

    def word(self, run: int, number: int) -> str:
        return f"{run}:{number}"

    def resume_from(self, request, responses):
        said = [each.outputs[0].data.root[0].split(":") for each in responses]
        assert [int(number) for _, number in said] == [*range(1, len(said) + 1)]
        assert len({run for run, _ in said}) == 1
        return self.respond(request, None, len(responses))


class Moody(Counting):
    """Says otherwise each time, and its settings say that it does not."""

    def word(self, run: int, number: int) -> str:
        return f"{run}:{number}"


@pytest.fixture(scope="module")
def running():
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running):
    running.empty()
    for model in (Counting, Resuming, Moody):
        model.open, model.asked = asyncio.Event(), 0
    yield running
    running.empty()


class Replica:
    """
    Attributes:
        runs: its streams.
    """

    def __init__(self, plane, runs):
        self.plane, self.runs = plane, runs

    async def begin(self, requests=None, said=10, request=None):
        """A stream that begins here, once the store has so much of it."""
        request = request or ask()
        run = self.runs.begin(
            requests or One(request),
            request,
            await self.plane.model("m"),
            None,
            self.plane.calls.slot_at_once,
        )
        await self.runs.sharing.published.known(run, said)
        return run

    async def read(self, position: str, count: int = N) -> list[str]:
        """What a reader who comes here is told, as `<stream's number> <text>`, up to so many."""
        found: list[str] = []
        reader = await self.runs.resume(Position.read(position))
        async with aclosing(reader.with_ids()) as responses:
            if count:
                async for response in responses:
                    said = response.parameters.model_extra["resume_id"]
                    found.append(f"{said.rpartition('.')[2]} {response.outputs[0].data.root[0]}")
                    if len(found) == count:
                        break
        return found

    def be_impatient(self):
        """What a store does that does not answer is seen soon; until then a busy machine's may."""
        self.runs.sharing.store._link.seconds = 0.5

    def die(self):
        """Nobody is told."""
        for publisher in self.runs.sharing.published._publishers.values():
            publisher._task.cancel()
        for run in list(self.runs._runs.values()):
            if run._task is not None:
                run._task.cancel()


@asynccontextmanager
async def two(server, tmp_path, model=Counting, lease=0.5, **extra) -> AsyncIterator[list[Replica]]:
    url = {"url": server.url, "lease_seconds": lease, "timeout_seconds": 10}
    async with plane_of(tmp_path, {"m": model}, extra=extra) as plane:
        block = plane.streaming.resume.model_copy(
            update={"store": StreamingSettings(resume={"store": url}).resume.store}
        )
        plane.streaming = plane.streaming.model_copy(update={"resume": block})
        replicas = [Replica(plane, Runs(plane, plane.resume.figures)) for _ in range(2)]
        for replica in replicas:
            share(replica.runs, plane, ".")
        try:
            yield replicas
        finally:
            Counting.open.set(), Resuming.open.set(), Moody.open.set()
            for replica in replicas:
                replica.die()
                await replica.runs.close()


def numbers(first: int, last: int, word: str = "{}") -> list[str]:
    return [f"{number} " + word.format(number) for number in range(first, last + 1)]


async def test_a_reader_at_another_replica_hears_what_was_said_and_the_rest(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        stream = (await a.begin()).head.id
        assert await b.read(f"{stream}.0", 10) == numbers(1, 10)
        reading = [asyncio.create_task(b.read(f"{stream}.{after}")) for after in (0, 3, 10)]
        await asyncio.sleep(0)
        Counting.open.set()
        assert await asyncio.gather(*reading) == [
            numbers(1, N),
            numbers(4, N),
            numbers(11, N),
        ]
        assert await a.read(f"{stream}.7") == numbers(8, N)
        assert (await b.runs.find(stream)).is_over(N)
        assert Counting.asked == 1


async def test_nobody_elsewhere_hears_a_gap_or_the_future(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        stream = (await a.begin()).head.id
        for at in range(11):
            assert await b.read(f"{stream}.{at}", min(3, 10 - at)) == numbers(
                at + 1, min(at + 3, 10)
            )
        Counting.open.set()
        with pytest.raises(StillAheadError):
            await b.read(f"{stream}.51")


async def test_a_stream_is_listed_and_cancelled_at_another_replica(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        run = await a.begin()
        await b.read(f"{run.head.id}.0", 10)
        async with asyncio.timeout(10):
            (listed,) = (await b.runs.own()).streams
            assert (listed.head.id, listed.state, listed.log.last) == (run.head.id, "running", 10)
            (await b.runs.find(run.head.id)).cancel()
            with pytest.raises(MLServerError, match="cancelled"):
                await run.after(10)
        assert run.state == "cancelled"
        for replica in (a, b):
            with pytest.raises(NoSuchStreamError):
                await replica.runs.find(run.head.id)


@pytest.mark.parametrize("at", [0, 1])
async def test_a_stream_that_has_ended_and_is_deleted_is_nowhere(server, tmp_path, at):
    Counting.open.set()
    async with two(server, tmp_path) as replicas:
        run = await replicas[0].begin(said=N)
        for replica in replicas:
            await replica.read(f"{run.head.id}.0")
        await replicas[at].runs.cancel(run.head.id)
        for replica in replicas:
            with pytest.raises(NoSuchStreamError):
                await replica.runs.find(run.head.id)


async def test_a_mirror_of_what_has_ended_knows_that_from_the_first_look_on(server, tmp_path):
    Counting.open.set()
    async with two(server, tmp_path) as (a, b):
        run = await a.begin(said=N)
        await a.runs.sharing.published._publishers[run.head.id].done()
        assert (await b.runs.find(run.head.id)).is_over(N)


async def test_a_stream_that_has_moved_is_found_after_it_was_left_alone(server, tmp_path):
    async with two(server, tmp_path, Resuming) as (a, b):
        stream = (await a.begin()).head.id
        a.die()
        await unheld(b, stream)
        run = await b.runs.find(stream)
        await b.runs.sharing.published.known(run, 10)
        a.runs._runs.clear()
        mirror = await a.runs.find(stream)
        mirror.forget()  # as it does where nobody reads it
        assert await a.read(f"{stream}.5", 5) == [f"{n} 1:{n}" for n in range(6, 11)]


async def test_a_stream_of_another_caller_is_not_found_elsewhere(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        stream = (await a.begin()).head.id
        await b.read(f"{stream}.0", 10)
        callers.set_current(Caller("else", frozenset({"infer"})))
        try:
            for replica in (a, b):
                with pytest.raises(NoSuchStreamError):
                    await replica.read(f"{stream}.0")
                assert (await replica.runs.own()).streams == []
        finally:
            callers.set_current(ANYBODY)


async def come_back(replica: Replica, position: str) -> list[str]:
    """As a client does: again where it is told to."""
    while True:
        try:
            return await replica.read(position)
        except (MovedError, CatchingUpError):
            await asyncio.sleep(0.02)


async def test_a_model_that_says_the_same_is_asked_again(server, tmp_path):
    async with two(server, tmp_path, repeatable=True) as (a, b):
        stream = (await a.begin()).head.id
        assert await a.read(f"{stream}.0", 8) == numbers(1, 8)
        await b.read(f"{stream}.0", 10)
        a.die()
        Counting.open.set()
        assert await come_back(b, f"{stream}.8") == numbers(9, N)
        assert await b.read(f"{stream}.0") == numbers(1, N)
        assert Counting.asked == 2


class Second:
    """What is left of a connection's requests once its model has ended a stream before."""

    has_ended = True  # no more come

    def __init__(self, request):
        self._requests = iter([request])

    def __aiter__(self):
        return self

    async def __anext__(self):
        for request in self._requests:
            return request
        raise StopAsyncIteration


async def test_what_is_asked_again_is_what_the_stream_read(server, tmp_path):
    async with two(server, tmp_path, repeatable=True) as (a, b):
        second = Second(ask(id="second"))
        stream = (await a.begin(requests=second, request=ask(id="first"))).head.id
        a.die()
        Counting.open.set()
        await come_back(b, f"{stream}.0")
        run = await b.runs.find(stream)
        assert {each.id async for each in run.join().responses()} == {"second"}
        assert Counting.asked == 2


async def unheld(replica: Replica, stream: str) -> None:
    """Wait until nobody holds its lease."""
    while (await replica.runs.sharing.store.look(stream, "")).is_held:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def test_a_look_at_a_dead_replicas_stream_asks_no_model(server, tmp_path):
    async with two(server, tmp_path, repeatable=True) as (a, b):
        stream = (await a.begin()).head.id
        assert ((await b.runs.look(stream)).state, Counting.asked) == ("running", 1)
        a.die()
        await unheld(b, stream)
        looked = await b.runs.look(stream)
        assert (looked.head.id, looked.state, looked.log.last) == (stream, "interrupted", 10)
        assert [each.state for each in (await b.runs.own()).streams] == ["interrupted"]
        assert Counting.asked == 1
        Counting.open.set()
        assert await b.read(f"{stream}.10") == numbers(11, N)


async def test_a_look_at_a_lost_stream_says_so(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        stream = (await a.begin()).head.id
        a.die()
        await unheld(b, stream)
        with pytest.raises(LostStreamError, match="lost after response 10"):
            await b.runs.look(stream)


@pytest.mark.parametrize("model", [Counting, Resuming])
async def test_a_dead_replicas_stream_is_cancelled_without_its_model(server, tmp_path, model):
    async with two(server, tmp_path, model, repeatable=model is Counting) as (a, b):
        stream = (await a.begin()).head.id
        a.die()
        await unheld(b, stream)
        await b.runs.cancel(stream)
        assert model.asked == 1
        assert not await b.runs.sharing.store.take(stream)
        assert (await b.runs.own()).streams == []
        for ask_for in (b.runs.look, b.runs.find, b.runs.cancel):
            with pytest.raises(NoSuchStreamError):
                await ask_for(stream)


async def test_a_stream_that_has_moved_is_looked_at_and_cancelled_by_its_first_id(server, tmp_path):
    async with two(server, tmp_path, Resuming) as (a, b):
        stream = (await a.begin()).head.id
        a.die()
        await unheld(b, stream)
        run = await b.runs.find(stream)
        assert (await a.runs.sharing.look(stream)).head.id == run.head.id != stream
        await a.runs.sharing.cancel(stream)
        with pytest.raises(MLServerError, match="cancelled"):
            async with asyncio.timeout(10):
                await run.after(10)


@pytest.mark.parametrize("whose", ["request", "limit"])
async def test_a_stream_that_is_taken_over_has_what_is_left_of_its_time(
    server, tmp_path, monkeypatch, whose
):
    limits = {"limits": {"stream_seconds": 600}} if whose == "limit" else {}
    (tmp_path / "settings.json").write_text(json.dumps({"streaming": limits}))
    async with two(server, tmp_path, repeatable=True) as (a, b):
        request = ask(timeout=600_000_000) if whose == "request" else ask()
        stream = (await a.begin(request=request)).head.id
        a.die()
        await unheld(b, stream)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 3600)
        with pytest.raises(DeadlineError, match="600 s"):
            await come_back(b, f"{stream}.10")


async def test_own_streams_are_listed_while_the_store_is_away(tmp_path):
    with RedisServer() as server:
        async with two(server, tmp_path) as (a, b):
            runs = [await a.begin() for _ in range(2)]
            owned = await b.runs.own()
            assert (len(owned.streams), owned.is_whole) == (2, True)
            server.kill()
            owned = await a.runs.own()
            assert (list(owned.streams), owned.is_whole) == (runs, False)
            owned = await b.runs.own()
            assert (owned.streams, owned.is_whole) == ([], False)
            for ask_for in (b.runs.look, b.runs.cancel):
                with pytest.raises(StoreLostError):
                    await ask_for(runs[0].head.id)


async def test_who_is_ahead_of_a_stream_that_is_said_again_is_told_to_come_back(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(sharing, "AHEAD_SECONDS", 0.05)
    async with two(server, tmp_path, repeatable=True) as (a, b):
        stream = (await a.begin()).head.id
        a.die()
        await unheld(b, stream)
        with pytest.raises(CatchingUpError, match="at response 10 so far"):
            await b.read(f"{stream}.20")
        Counting.open.set()
        assert await come_back(b, f"{stream}.20") == numbers(21, N)
        with pytest.raises(StillAheadError):
            await b.read(f"{stream}.51")


async def test_readers_who_come_at_once_take_it_over_once(server, tmp_path):
    async with two(server, tmp_path, repeatable=True) as (a, b):
        stream = (await a.begin()).head.id
        await b.read(f"{stream}.0", 10)
        a.die()
        Counting.open.set()
        positions = [f"{stream}.{after % 10}" for after in range(16)]
        found = await asyncio.gather(*(come_back(b, position) for position in positions))
        assert found == [numbers(after % 10 + 1, N) for after in range(16)]
        assert Counting.asked == 2


async def test_a_model_that_says_otherwise_after_all_ends_its_stream(server, tmp_path):
    async with two(server, tmp_path, Moody, repeatable=True) as (a, b):
        stream = (await a.begin()).head.id
        await b.read(f"{stream}.0", 10)
        a.die()
        Moody.open.set()
        with pytest.raises(LostStreamError, match="lost after response 10"):
            await come_back(b, f"{stream}.5")


async def test_a_model_that_can_goes_on_behind_what_was_said(server, tmp_path):
    async with two(server, tmp_path, Resuming) as (a, b):
        stream = (await a.begin()).head.id
        assert await a.read(f"{stream}.0", 10) == numbers(1, 10, "1:{}")
        a.die()
        Resuming.open.set()
        assert await come_back(b, f"{stream}.4") == [
            *numbers(5, 10, "1:{}"),
            *numbers(11, N, "2:{}"),
        ]
        # It has another id now, since whoever had more of it would have had something else.
        going_on = (await b.runs.find(stream)).head.id
        assert going_on != stream
        assert await a.read(f"{going_on}.30") == numbers(31, N, "2:{}")
        with pytest.raises(LostStreamError, match="lost after response 10"):
            await b.read(f"{stream}.11")
        # Nor has he all, who has as many of other words.
        run = await b.runs.find(stream)
        assert b.runs.is_over(run, Position(going_on, N))
        assert not b.runs.is_over(run, Position(stream, N))


async def test_any_other_stream_is_lost_with_its_replica(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        stream = (await a.begin()).head.id
        await b.read(f"{stream}.0", 10)
        a.die()
        with pytest.raises(LostStreamError, match="lost after response 10"):
            await come_back(b, f"{stream}.10")
        assert figure("resume_lost_total") == 1


def figure(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_what_is_done_through_the_store_is_counted(server, tmp_path):
    async with two(server, tmp_path, lease=30, repeatable=True) as (a, b):
        assert figure("resume_store_errors_total", reason="full") == 0
        stream = (await a.begin()).head.id
        await b.read(f"{stream}.0", 10)
        assert figure("resume_store_up") == 1
        for operation in ("read", "write"):
            assert figure("resume_store_bytes_total", operation=operation) > 0
            assert figure("resume_store_seconds_count", operation=operation) > 0
        a.runs.hand_over()
        Counting.open.set()
        await come_back(b, f"{stream}.10")
        assert figure("resume_handed_over_total") == figure("resume_taken_over_total") == 1
        server.fill()
        await a.begin(said=0)
        assert figure("resume_store_errors_total", reason="full") >= 1


async def test_without_a_store_there_are_no_metrics_of_one(tmp_path):
    async with plane_of(tmp_path, {"m": Counting}):
        assert figure("resume_streams") == 0
        assert figure("resume_store_up") is None


async def test_one_request_of_many_there_might_have_been(server, tmp_path):
    async with two(server, tmp_path, repeatable=True) as (a, b):

        async def requests():
            yield ask()

        stream = (await a.begin(requests())).head.id
        assert await b.read(f"{stream}.0", 10) == numbers(1, 10)
        Counting.open.set()
        assert await b.read(f"{stream}.0") == numbers(1, N)


async def test_a_replica_that_stops_hands_over_what_others_can_go_on_with(server, tmp_path):
    async with two(server, tmp_path, lease=30, repeatable=True) as (a, b):
        stream = (await a.begin()).head.id
        told = asyncio.create_task(a.read(f"{stream}.0"))
        await b.read(f"{stream}.0", 10)
        a.runs.hand_over()
        with pytest.raises(MovedError):
            await told
        Counting.open.set()
        assert await come_back(b, f"{stream}.10") == numbers(11, N)


async def test_a_replica_that_stops_sends_its_readers_of_others_streams_away(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        stream = (await a.begin()).head.id
        reading = asyncio.create_task(b.read(f"{stream}.0"))
        # Polled: nobody else knows that it is read.
        while not any(run.readers for run in b.runs._runs.values()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        b.runs.hand_over()
        with pytest.raises(MovedError):
            await reading
        Counting.open.set()
        assert await a.read(f"{stream}.10") == numbers(11, N)


async def test_a_replica_that_stops_keeps_what_nobody_can_go_on_with(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        stream = (await a.begin()).head.id
        reading = asyncio.create_task(b.read(f"{stream}.0"))
        a.runs.hand_over()
        Counting.open.set()
        assert await reading == numbers(1, N)


@pytest.mark.parametrize("model", [Counting, Resuming])
@pytest.mark.parametrize("is_done", [False, True])
async def test_one_late_answer_does_not_cost_a_stream_its_comebacks(
    server, tmp_path, model, is_done
):
    async with two(server, tmp_path, model) as (a, b):
        store, asked = a.runs.sharing.store, []
        begin = store.begin

        async def late(*arguments):
            asked.append(arguments)
            if is_done or len(asked) > 1:
                await begin(*arguments)
            if len(asked) == 1:
                raise StoreError("late")

        store.begin = late
        stream = (await a.begin()).head.id
        said = [each.split()[0] for each in await b.read(f"{stream}.0", 10)]
        assert said == [str(n) for n in range(1, 11)]


def once_late(store, name: str) -> None:
    """Have a store not do what it is asked first."""
    ask_it, asked = getattr(store, name), []

    async def late(*arguments, **named):
        asked.append(arguments)
        if len(asked) == 1:
            raise StoreError("late")
        return await ask_it(*arguments, **named)

    setattr(store, name, late)


async def test_one_late_answer_does_not_cost_a_stream_of_one_request_of_many_its_comebacks(
    server, tmp_path
):
    async with two(server, tmp_path, repeatable=True) as (a, b):
        once_late(a.runs.sharing.store, "amend")
        stream = (await a.begin(requests=Second(ask()))).head.id
        a.die()
        Counting.open.set()
        assert await come_back(b, f"{stream}.0") == numbers(1, N)


async def test_one_late_answer_does_not_cost_a_handover_its_stream(server, tmp_path):
    async with two(server, tmp_path, repeatable=True) as (a, b):
        once_late(a.runs.sharing.store, "release")
        stream = (await a.begin()).head.id
        a.runs.hand_over()
        Counting.open.set()
        assert await come_back(b, f"{stream}.0") == numbers(1, N)


@pytest.mark.parametrize("has_ended", [False, True])
@pytest.mark.parametrize("at", [0, 1])
async def test_one_late_answer_does_not_cost_who_cancels_that(server, tmp_path, at, has_ended):
    if has_ended:
        Counting.open.set()
    async with two(server, tmp_path) as replicas:
        run = await replicas[0].begin(said=N if has_ended else 10)
        once_late(replicas[at].runs.sharing.store, "cancel")
        await replicas[at].runs.cancel(run.head.id)
        await run.until(N + 1, 10)
        for replica in replicas:
            with pytest.raises(NoSuchStreamError):
                await replica.runs.find(run.head.id)


async def test_one_late_answer_does_not_have_a_stream_moved_twice(server, tmp_path):
    async with two(server, tmp_path, Resuming) as (a, b):
        stream = (await a.begin()).head.id
        a.die()
        a.runs._runs.clear()
        await unheld(b, stream)
        once_late(b.runs.sharing.store, "move")
        going_on = await b.runs.find(stream)
        assert (await a.runs.find(stream)).head.id == going_on.head.id


async def test_a_stream_is_not_moved_to_where_nobody_finds_it(server, tmp_path):
    async with two(server, tmp_path, Resuming) as (a, b):
        stream = (await a.begin()).head.id
        a.die()
        a.runs._runs.clear()
        await unheld(b, stream)

        async def late(*arguments):
            raise StoreError("late")

        b.runs.sharing.store.begin = late
        here = await b.runs.find(stream)
        Resuming.open.set()
        assert await b.read(f"{here.head.id}.10") == numbers(11, N, "2:{}")
        await unheld(a, stream)
        assert await a.read(f"{stream}.10") == numbers(11, N, "3:{}")


@pytest.mark.parametrize("model", [Counting, Resuming])
async def test_what_is_said_while_the_store_is_away_is_there_once_it_is_back(tmp_path, model):
    model.open, model.asked = asyncio.Event(), 0
    with RedisServer() as server:
        async with two(server, tmp_path, model) as (a, b):
            streams = [(await a.begin()).head.id for _ in range(3)]
            publishers = [a.runs.sharing.published._publishers[stream] for stream in streams]
            link = a.runs.sharing.store._link
            link.seconds, link._retry_seconds = 0.2, 0.1
            server.hang()
            model.open.set()
            found = await asyncio.gather(*(a.read(f"{stream}.0") for stream in streams))
            while not all(each.is_lost for each in publishers):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            server.go_on()
            link.seconds = 10
            await asyncio.gather(*(each.done() for each in publishers))
            again = await asyncio.gather(*(b.read(f"{stream}.5") for stream in streams))
            assert again == [each[5:] for each in found]
            assert model.asked == 3


async def test_a_replica_that_was_late_goes_on_with_what_nobody_took(server, tmp_path):
    async with two(server, tmp_path) as (a, b):
        stream = (await a.begin()).head.id
        server.command("DEL", f"{PREFIX}{stream}:lease")  # as it runs out
        Counting.open.set()
        await a.runs.sharing.published._publishers[stream].done()
        assert await b.read(f"{stream}.0") == numbers(1, N)


async def test_what_another_took_while_the_store_was_away_is_not_written_to(server, tmp_path):
    async with two(server, tmp_path, repeatable=True) as (a, b):
        stream = (await a.begin()).head.id
        store = a.runs.sharing.store
        write = store.write

        async def away(*arguments):
            raise StoreError("away")

        store.write = away
        await unheld(b, stream)
        assert await b.read(f"{stream}.0", 10) == numbers(1, 10)
        store.write = write
        Counting.open.set()
        assert await b.read(f"{stream}.0") == await a.read(f"{stream}.0") == numbers(1, N)
        await a.runs.sharing.published._publishers[stream].done()
        assert Counting.asked == 2


@pytest.mark.parametrize("model", [Counting, Resuming])
@pytest.mark.parametrize("fault", ["dead", "full", "empty", "hung", "slow"])
async def test_streams_go_on_whatever_becomes_of_the_store(tmp_path, fault, model):
    model.open, model.asked = asyncio.Event(), 0
    with RedisServer() as server:
        # It outlasts the wait, also on a busy machine; where nothing answers, all wait for it.
        lease = 6 if fault in ("dead", "hung") else 10
        async with two(server, tmp_path, model, lease=lease) as (a, b):
            streams = [(await a.begin()).head.id for _ in range(50)]
            await asyncio.gather(*(b.read(f"{stream}.0", 10) for stream in streams))
            reading = [asyncio.create_task(a.read(f"{stream}.0")) for stream in streams]
            await asyncio.sleep(0)
            a.be_impatient(), b.be_impatient()
            {
                "dead": server.kill,
                "full": server.fill,
                "empty": server.empty,
                "hung": server.hang,
                "slow": server.hang,
            }[fault]()
            model.open.set()
            if fault == "slow":
                with pytest.raises(StoreLostError):
                    await b.runs.look(streams[0] + "?")
                server.go_on()
            for found in await asyncio.gather(*reading):
                assert [each.split()[0] for each in found] == [str(n) for n in range(1, N + 1)]
            for stream in streams[:3]:
                try:
                    found = await b.read(f"{stream}.5")
                except (MLServerError, StoreLostError) as error:
                    assert error.status_code in (404, 410, 503)
                else:
                    assert [each.split()[0] for each in found] == [str(n) for n in range(6, N + 1)]
            if fault == "hung":
                server.go_on()
