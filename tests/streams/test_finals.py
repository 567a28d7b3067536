"""Which response of a stream is its last, known before it is sent."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar

import pytest

from mlserver_streaming.streams.finals import with_final

Closed = list[str]


async def flagged(items: AsyncGenerator[str, None]) -> list[tuple[str, bool]]:
    async with aclosing(with_final(items)) as answers:
        return [answer async for answer in answers]


async def items(
    *given: str, pause: Callable[[], object] | None = None
) -> AsyncGenerator[str, None]:
    for item in given:
        if pause:
            await pause()
        yield item
    if pause:
        await pause()


async def waiting(closed: Closed) -> AsyncGenerator[str, None]:
    """One item, and then it waits for good."""
    try:
        yield "only"
        await asyncio.Event().wait()
    finally:
        closed.append("closed")


@pytest.mark.parametrize("count", [0, 1, 2, 5])
async def test_the_last_item_is_called_the_last_where_the_model_just_ends(count: int) -> None:
    given = [str(number) for number in range(count)]
    expected = [(item, item == str(count - 1)) for item in given]
    assert await flagged(items(*given)) == expected


async def test_a_turn_of_the_loop_is_no_waiting() -> None:
    got = await flagged(items("a", "b", pause=lambda: asyncio.sleep(0)))
    assert got == [("a", False), ("b", True)]


async def test_an_item_is_not_held_up_by_a_model_that_waits_and_is_not_called_the_last() -> None:
    closed: Closed = []
    answers = with_final(waiting(closed))
    async with asyncio.timeout(10):
        assert await anext(answers) == ("only", False)
    await answers.aclose()


async def test_a_model_that_ends_after_waiting_ends_without_a_last_item() -> None:
    end = asyncio.Event()

    async def late() -> AsyncGenerator[str, None]:
        yield "only"
        await end.wait()

    answers = with_final(late())
    assert await anext(answers) == ("only", False)
    end.set()
    with pytest.raises(StopAsyncIteration):
        await anext(answers)


async def test_an_error_comes_after_the_items_before_it_and_none_of_them_was_the_last() -> None:
    async def failing() -> AsyncGenerator[str, None]:
        yield "a"
        raise KeyError("then")

    answers = with_final(failing())
    assert await anext(answers) == ("a", False)
    with pytest.raises(KeyError, match="then"):
        await anext(answers)


async def test_an_error_before_any_item_is_raised() -> None:
    async def failing() -> AsyncGenerator[str, None]:
        raise KeyError("at once")
        yield

    with pytest.raises(KeyError, match="at once"):
        await flagged(failing())


async def test_closing_closes_a_generator_that_waits() -> None:
    closed: Closed = []
    answers = with_final(waiting(closed))
    await anext(answers)
    await answers.aclose()
    assert closed == ["closed"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_closes_a_generator_that_has_more_to_say() -> None:
    closed: Closed = []

    async def endless() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "again"
        finally:
            closed.append("closed")

    answers = with_final(endless())
    await anext(answers)
    await answers.aclose()
    assert closed == ["closed"]


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelling_closes_the_generator_even_twice(times: int) -> None:
    closed: Closed = []
    reached, finished = asyncio.Event(), asyncio.Event()

    async def slow_to_close() -> AsyncGenerator[str, None]:
        try:
            yield "only"
            reached.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.append("closed")
            finished.set()

    reader = asyncio.create_task(flagged(slow_to_close()))
    await reached.wait()
    for _ in range(times):
        reader.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await reader
    async with asyncio.timeout(10):
        await finished.wait()
    assert closed == ["closed"]


async def test_a_context_variable_lasts_from_the_first_step_to_the_last() -> None:
    """MLServer sets the model's settings so, and resets them at the end."""
    current: ContextVar[str] = ContextVar("current", default="none")

    async def named() -> AsyncGenerator[str, None]:
        token = current.set("m")
        try:
            for _ in range(3):
                yield current.get()
        finally:
            current.reset(token)

    assert await flagged(named()) == [("m", False), ("m", False), ("m", True)]
    answers = with_final(named())
    await anext(answers)
    await answers.aclose()
    assert current.get() == "none"


async def test_what_a_model_waits_for_is_cancelled_with_it() -> None:
    """As it would be in a task of its own: a call that it left behind would go on for nobody."""
    closed: Closed = []

    async def inner() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append("inner")

    async def asking() -> AsyncGenerator[str, None]:
        yield "only"
        try:
            await asyncio.create_task(inner())
        finally:
            closed.append("outer")

    for turns in (0, 2, 20):  # before, while and after the next step is tried
        closed.clear()
        reader = asyncio.create_task(flagged(asking()))
        for _ in range(1 + turns):
            await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert closed in (["inner", "outer"], ["outer"])
        assert asyncio.all_tasks() == {asyncio.current_task()}
    answers = with_final(asking())
    await anext(answers)
    closed.clear()
    await answers.aclose()
    assert closed == ["inner", "outer"]


async def test_a_cancellation_while_it_closes_is_not_lost() -> None:
    closing = asyncio.Event()

    async def slow() -> AsyncGenerator[str, None]:
        yield "only"
        try:
            await asyncio.Event().wait()
        finally:
            closing.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def read() -> None:
        answers = with_final(slow())
        await anext(answers)
        await answers.aclose()
        await asyncio.Event().wait()

    reader = asyncio.create_task(read())
    await closing.wait()
    reader.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await reader
