"""A stream and its lanes, with workers that say what the test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest
from mlserver import MLModel
from mlserver.settings import ModelSettings
from mlserver.types import InferenceRequest

from mlserver_streaming.errors import MLServerError, OverLimitError, WorkerLostError
from mlserver_streaming.parallel import messages as say
from mlserver_streaming.parallel.model import WorkerModel
from mlserver_streaming.parallel.payloads import pack_response, unpack_request, unpack_response
from mlserver_streaming.parallel.sequence_table import Flags
from mlserver_streaming.parallel.session import Description
from mlserver_streaming.parallel.stream import Stream
from mlserver_streaming.streams import answers
from tests.streams.planes import answer, ask, said


class FakeLink:
    """A worker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.lane: Any = None
        self.took_at: list[int] = []
        self.before: Any = None

    def begin(self, exchange: Any, kind: int, *rest: Any) -> int:
        self.lane = exchange
        self.told.append((kind, rest[2] and unpack_request(rest[2]).id, rest[3]))
        self.before = rest[5]
        return 1

    def say(self, kind: int, number: int, *rest: Any) -> None:
        self.told.append((kind, *(unpack_request(each).id for each in rest)))

    def took(self, number: int, count: int) -> None:
        self.took_at.append(count)

    def responds(self, *texts: str) -> None:
        for text in texts:
            self.lane.response(pack_response(answer(text))[0])


class FakePool:
    """Places requests of a sequence as its table says, all others on the first worker."""

    def __init__(self, **homes: FakeLink):
        self.told_at_once = 2
        self.first = FakeLink()
        self.homes = homes

    def place(self, key: Any, flags: Flags | None, home: Any = None) -> FakeLink:
        if flags is None:
            return cast(FakeLink, home or self.first)
        if flags.id == "too-many":
            raise OverLimitError("as many as may be")
        return self.homes[str(flags.id)]


def stream(pool: FakePool, payloads: AsyncIterator[InferenceRequest]) -> Any:
    return Stream(cast(Any, pool), ("m", None), payloads).responses()


async def requests(*found: InferenceRequest) -> AsyncIterator[InferenceRequest]:
    for each in found:
        yield each


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def all_of(responses: Any) -> list[str]:
    async with aclosing(responses) as found:
        return [text async for response in found for text in said(response)]


async def test_requests_go_as_they_are_wanted_and_responses_come_as_they_are_made():
    pool = FakePool()
    task = asyncio.create_task(all_of(stream(pool, requests(ask(id="1"), ask(id="2")))))
    await turns()
    link = pool.first
    assert link.told == [(say.OPEN, "1", False)]  # nothing is read ahead
    link.responds("a", "b")
    link.lane.want()
    await turns()
    assert link.told[1:] == [(say.REQUEST, "2")]
    link.lane.want()
    await turns()
    assert link.told[2:] == [(say.END,)]
    link.responds("c")
    link.lane.done(None)
    assert await task == ["a", "b", "c"]
    assert link.took_at == [2]


async def test_of_a_sole_request_it_is_known_that_no_more_come():
    pool = FakePool()
    task = asyncio.create_task(all_of(stream(pool, answers.One(ask(id="1")))))
    await turns()
    assert pool.first.told == [(say.OPEN, "1", True)]
    pool.first.lane.last(pack_response(answer("a"))[0])
    assert await task == ["a"]


@pytest.mark.parametrize("resumes", [True, False])
async def test_a_model_in_workers_goes_on_behind_what_was_said_where_it_can(resumes: bool):
    pool = FakePool()
    settings = ModelSettings(name="m", implementation=MLModel)
    about = Description(True, False, False, resumes, None, None)
    model = WorkerModel(MLModel(settings), cast(Any, pool), about)
    assert answers.can_resume(model) is resumes
    if resumes:
        before = [answer("a", "1"), answer("b", "1")]
        rest = answers.resumed(model, answers.One(ask(id="1")), before)
        task = asyncio.create_task(all_of(rest))
        await turns()
        assert pool.first.told == [(say.OPEN, "1", True)]
        assert [said(unpack_response(each)) for each in pool.first.before] == [["a"], ["b"]]
        pool.first.responds("c")
        pool.first.lane.done(None)
        assert await task == ["c"]


async def test_a_stream_without_requests_reaches_the_model_too():
    pool = FakePool()
    task = asyncio.create_task(all_of(stream(pool, requests())))
    await turns()
    assert pool.first.told[0] == (say.OPEN, None, True)
    pool.first.lane.done(None)
    assert await task == []


async def test_what_came_before_an_error_is_given_first():
    pool = FakePool()
    task = asyncio.create_task(all_of(stream(pool, answers.One(ask()))))
    await turns()
    pool.first.responds("a")
    pool.first.lane.failed(WorkerLostError())
    with pytest.raises(MLServerError, match="was lost"):
        await task


async def test_closed_early_it_cancels_its_worker():
    pool = FakePool()
    responses = stream(pool, requests(ask(id="1"), ask(id="2")))
    begun = asyncio.create_task(anext(responses))
    await turns()
    pool.first.responds("a")
    await begun
    await responses.aclose()
    assert pool.first.told[-1] == (say.CANCEL,)


async def test_an_error_of_the_requests_is_the_streams():
    async def broken() -> AsyncIterator[InferenceRequest]:
        yield ask(id="1")
        raise MLServerError("the wire broke", 408)

    pool = FakePool()
    task = asyncio.create_task(all_of(stream(pool, broken())))
    await turns()
    pool.first.lane.want()
    with pytest.raises(MLServerError, match="the wire broke"):
        await task
    assert pool.first.told[-1] == (say.CANCEL,)


async def test_requests_of_sequences_elsewhere_go_there_and_all_responses_come():
    a, b = FakeLink(), FakeLink()
    pool = FakePool(a=a, b=b)
    found = [ask(id=f"{s}{n}", sequence_id=s) for n in (1, 2) for s in "ab"]
    task = asyncio.create_task(all_of(stream(pool, requests(*found))))
    await turns()
    assert (a.told, b.told) == ([(say.OPEN, "a1", False)], [])
    a.lane.want()
    await turns()
    # b1 was read because a's model asked; a still waits, so a2 is read too, and given to a.
    assert b.told == [(say.OPEN, "b1", False)]
    assert a.told[1:] == [(say.REQUEST, "a2")]
    b.responds("from b")
    b.lane.want()
    await turns()
    assert b.told[1:] == [(say.REQUEST, "b2")]
    a.lane.want()
    await turns()
    assert a.told[-1] == b.told[-1] == (say.END,)
    a.responds("from a")
    a.lane.done(None)
    b.lane.done(None)
    assert await task == ["from b", "from a"]


async def test_a_sequence_too_many_costs_its_request_only():
    pool = FakePool()
    found = [ask(id="1", sequence_id="too-many"), ask(id="2")]
    responses = stream(pool, requests(*found))
    refused = await anext(responses)
    assert refused.id == "1" and refused.outputs == []
    assert refused.parameters.model_extra == {"error": "as many as may be", "error_code": 429}
    rest = asyncio.create_task(all_of(responses))
    await turns()
    assert pool.first.told == [(say.OPEN, "2", False)]
    pool.first.responds("b")
    pool.first.lane.done(None)
    assert await rest == ["b"]


async def test_nothing_but_sequences_too_many_is_an_end_too():
    found = [ask(id=str(n), sequence_id="too-many") for n in range(3)]
    async with aclosing(stream(FakePool(), requests(*found))) as responses:
        assert [each.id async for each in responses] == ["0", "1", "2"]
