"""Calls: what stops one and what comes of it, ids, and the drain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from mlserver_streaming.access.callers import ANYBODY, INFER, Caller, set_current
from mlserver_streaming.errors import (
    BadRequestError,
    DeadlineError,
    DrainingError,
    IdleError,
    InternalError,
    MLServerError,
    OverLimitError,
)
from mlserver_streaming.settings import StreamingSettings
from mlserver_streaming.streams import calls
from mlserver_streaming.streams.calls import GRPC, MAX_ID_CHARACTERS, REST, Call, Calls, fit_id
from mlserver_streaming.watch.metrics import StreamMetrics
from tests.streams.planes import ask


@pytest.fixture
def metrics() -> Iterator[StreamMetrics]:
    before = set(REGISTRY._collector_to_names)
    yield StreamMetrics()
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)


@pytest.fixture
def make(metrics: StreamMetrics) -> Callable[..., Calls]:
    def made(**limits: Any) -> Calls:
        return Calls(StreamingSettings(limits=limits), metrics)

    return made


def ended(protocol: str, reason: str, model: str = "") -> float:
    labels = {"model_name": model, "model_version": "", "protocol": protocol, "reason": reason}
    return REGISTRY.get_sample_value("stream_terminated_total", labels) or 0.0


class Running:
    """A call in a task of its own, open until it is stopped or told to end."""

    def __init__(self, all_calls: Calls, during: Callable[[Call], Any] = lambda call: None):
        self.end = asyncio.Event()
        self.opened = asyncio.Event()
        self._during = during
        self.task = asyncio.create_task(self._run(all_calls))

    async def _run(self, all_calls: Calls) -> None:
        async with all_calls.open(REST, {}) as self.call:
            self._during(self.call)
            self.opened.set()
            await self.end.wait()


async def running(*arguments: Any) -> Running:
    found = Running(*arguments)
    await found.opened.wait()
    return found


async def comes_of(task: Awaitable[None]) -> MLServerError:
    async with asyncio.timeout(20):
        with pytest.raises(MLServerError) as caught:
            await task
    return caught.value


async def test_a_call_is_the_current_one_until_it_is_closed(make: Callable[..., Calls]):
    assert calls.current() is None
    async with make().open(GRPC, {"x-request-id": "i"}) as call:
        assert calls.current() is call
        assert (call.protocol, call.key, call.request_id) == (GRPC, None, "i")
    assert calls.current() is None


async def test_how_full_it_is_can_be_scraped(make: Callable[..., Calls]):
    """What a service scales on: slots in use, requests that wait, and what there may be of both."""

    def scraped() -> list[float | None]:
        names = ("slots_used", "slots_limit", "waiting", "waiting_limit", "model_slots_limit")
        return [REGISTRY.get_sample_value(f"stream_{name}") for name in names]

    found = make(streams=2, waiting=5)
    assert scraped() == [0, 2, 0, 5, None]
    first, second = await running(found), await running(found)
    assert scraped() == [2, 2, 0, 5, None]
    third = Running(found)
    for _ in range(10):  # turns for it to come and wait
        await asyncio.sleep(0)
    assert scraped() == [2, 2, 1, 5, None]
    first.end.set()
    await third.opened.wait()
    assert scraped() == [2, 2, 0, 5, None]
    for each in (second, third):
        each.end.set()
        await each.task
    assert scraped() == [0, 2, 0, 5, None]
    make(streams_per_model=3)
    assert scraped() == [0, 256, 0, 64, 3]


async def test_a_request_is_of_its_call_s_sequence(make: Callable[..., Calls]):
    async with make().open(REST, {"x-sequence-id": "7", "x-request-id": "r"}) as call:
        assert call.returned == {"x-request-id": "r", "x-sequence-id": "7"}
        call.take(ask(sequence_id=7))
        call.take(ask())
        with pytest.raises(BadRequestError, match="'7', the request's 'sequence_id' sequence '8'"):
            call.take(ask(sequence_id=8))
    async with make().open(REST, {}) as call:
        assert call.returned == {}
        call.take(ask(sequence_id=8))


async def test_a_call_knows_its_caller(make: Callable[..., Calls]):
    set_current(Caller("bob", frozenset({INFER})))
    try:
        async with make().open(REST, {}) as call:
            assert call.key == "bob"
    finally:
        set_current(ANYBODY)


async def test_a_limit_is_each_identity_s_own_not_each_shown_name_s(make: Callable[..., Calls]):
    found = make(streams_per_key=1, waiting=0)

    async def call(identity: str) -> None:
        set_current(Caller("jwt:bob", frozenset({INFER}), identity=identity))
        async with found.open(REST, {}):
            if identity == "one":
                await asyncio.create_task(call("other"))
                with pytest.raises(OverLimitError):
                    await asyncio.create_task(call("one"))

    await asyncio.create_task(call("one"))


async def test_a_stopped_call_raises_what_stopped_it(make: Callable[..., Calls]):
    found = await running(make())
    found.call.stop(InternalError("1"))
    found.call.stop(DrainingError())  # too late
    assert isinstance(await comes_of(found.task), InternalError)
    assert not found.task.cancelling()


async def test_a_task_that_is_cancelled_besides_stays_cancelled(make: Callable[..., Calls]):
    found = await running(make())
    found.call.stop(InternalError("1"))
    found.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await found.task


async def test_the_timeout_of_a_request_ends_its_call(make: Callable[..., Calls]):
    found = await running(make(), lambda call: call.take(ask(timeout=1000)))
    error = await comes_of(found.task)
    assert (type(error), error.status_code) == (DeadlineError, 504)
    assert "0.001 s" in str(error)


async def test_a_timeout_ends_with_its_call(make: Callable[..., Calls]):
    async with make().open(REST, {}) as call:
        call.take(ask(timeout=60_000_000))
        assert call._timer is not None and not call._timer.cancelled()
    assert call._timer.cancelled()


async def test_a_silent_call_is_ended(make: Callable[..., Calls]):
    assert isinstance(
        await comes_of((await running(make(stream_idle_seconds=0.01))).task), IdleError
    )


async def test_a_call_that_says_something_is_not_silent(make: Callable[..., Calls]):
    found = make(stream_idle_seconds=1000)
    old, young = await running(found), await running(found)
    old.call.last -= 2000
    young.call.last -= 2000
    young.call.touch()
    assert isinstance(await comes_of(old.task), IdleError)
    young.end.set()
    await young.task


async def test_a_call_that_talks_for_ever_is_ended(make: Callable[..., Calls]):
    found = await running(make(stream_seconds=1000))
    found.call.opened -= 2000
    assert isinstance(await comes_of(found.task), DeadlineError)


@pytest.mark.parametrize(("seconds", "late"), [(None, False), (0.01, True), (1000, False)])
async def test_the_caller_s_own_deadline(
    make: Callable[..., Calls], seconds: float | None, late: bool
):
    async with make().open(GRPC, {}, seconds) as call:
        assert call.is_late() is late


async def test_a_call_over_the_limit_is_refused_and_counted_once(make: Callable[..., Calls]):
    found = make(streams=1, waiting=0)
    first = await running(found)
    with pytest.raises(OverLimitError):
        async with found.open(REST, {}):
            pytest.fail("was let in")
    assert ended(REST, "rejected") == 1
    first.end.set()
    await first.task


async def test_a_limit_that_a_call_meets_inside_is_not_counted_as_its_own(
    make: Callable[..., Calls],
):
    found = make(streams_per_model=1, waiting=0)
    async with found.open(REST, {}), found.model("m"):
        with pytest.raises(OverLimitError):
            async with found.open(GRPC, {}), found.model("m"):
                pytest.fail("was let in")
    assert ended(REST, "rejected") == ended(GRPC, "rejected") == 0


async def test_a_call_that_waits_is_ended_like_any_other(make: Callable[..., Calls]):
    found = make(streams=1, stream_idle_seconds=1000)
    first = await running(found)
    waiting = Running(found)
    await asyncio.sleep(0)
    for call in found._open - {first.call}:
        call.last -= 2000
    assert isinstance(await comes_of(waiting.task), IdleError)
    first.end.set()
    await first.task


async def test_two_calls_never_wait_for_each_other_s_models(make: Callable[..., Calls]):
    found = make(streams_per_model=1, waiting=9)
    async with found.open(GRPC, {}) as first, found.model("a"):
        assert dict(first.models) == {"a": 1}
        async with found.open(GRPC, {}), found.model("b"):
            with pytest.raises(OverLimitError):
                async with found.model("a"):
                    pytest.fail("was let in")
    assert not first.models


async def test_a_second_stream_of_a_call_to_the_same_model_may_wait(make: Callable[..., Calls]):
    found = make(streams_per_model=1, waiting=9)
    took: list[str] = []

    async def second() -> None:
        async with found.model("a"):
            took.append("second")

    async with found.open(GRPC, {}):
        async with found.model("a"):
            waiting = asyncio.create_task(second())
            await asyncio.sleep(0)
            took.append("first")
        await waiting
    assert took == ["first", "second"]


async def test_the_drain_waits_and_refuses(make: Callable[..., Calls]):
    found = make()
    first = await running(found)
    draining = asyncio.create_task(found.drain(1000))
    await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        async with found.open(REST, {}):
            pytest.fail("was let in")
    assert ended(REST, "drain") == 1
    assert not draining.done()
    first.end.set()
    await first.task
    await draining


@pytest.mark.parametrize("again", [False, True])
async def test_the_drain_s_end_or_a_second_one_ends_calls(make: Callable[..., Calls], again: bool):
    found = make()
    first = await running(found)
    draining = asyncio.create_task(found.drain(1000 if again else 0))
    await asyncio.sleep(0)
    if again:
        await found.drain(1000)
    assert isinstance(await comes_of(first.task), DrainingError)
    await draining


async def test_a_notice_takes_calls_until_a_second_drain(make: Callable[..., Calls]):
    found = make()
    draining = asyncio.create_task(found.drain(1000, notice_seconds=1000))
    await asyncio.sleep(0)
    assert found.stopping
    first = await running(found)
    await found.drain(1000, notice_seconds=1000)
    assert isinstance(await comes_of(first.task), DrainingError)
    await draining


async def test_after_the_notice_calls_are_refused(make: Callable[..., Calls]):
    found = make()
    await found.drain(1000, notice_seconds=0.01)
    with pytest.raises(DrainingError):
        async with found.open(REST, {}):
            pytest.fail("was let in")


async def test_the_drain_of_nobody_is_done_at_once(make: Callable[..., Calls]):
    await make().drain(1000)


async def test_a_request_without_an_id_gets_its_call_s(make: Callable[..., Calls]):
    async with make().open(REST, {"x-request-id": "the call's"}) as call:
        for given, expected in ((None, "the call's"), ("", "the call's"), ("own", "own")):
            request = ask(id=given)
            call.take(request)
            assert request.id == expected


@pytest.mark.parametrize("text", ["1", "a b/c:d", "x" * MAX_ID_CHARACTERS])
def test_ids_that_fit(text: str):
    assert fit_id(text) == text


@pytest.mark.parametrize(
    "text", ["", None, b"bytes", 7, "a\nb", "a\r", "\x1b[2J", "\x7f", "é", "\u2028", "x" * 129]
)
def test_ids_that_do_not(text: Any):
    assert fit_id(text) is None
