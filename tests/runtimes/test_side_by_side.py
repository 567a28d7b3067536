"""Several streams in one: each in order, none held up by another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from runtimes.speech.side_by_side import side_by_side


async def items(*each: tuple[Any, Any, bool]) -> AsyncIterator[tuple[Any, Any, bool]]:
    for item in each:
        yield item


async def twice(item: Any) -> AsyncIterator[Any]:
    yield item
    await asyncio.sleep(0)
    yield item


async def test_each_stream_keeps_its_order() -> None:
    sent = [(key, (key, number), number == 19) for number in range(20) for key in "ab"]
    found = [result async for result in side_by_side(items(*sent), twice)]
    for key in "ab":
        expected = [(key, number) for number in range(20) for _ in range(2)]
        assert [result for result in found if result[0] == key] == expected


async def test_one_that_waits_holds_up_no_other() -> None:
    gate = asyncio.Event()

    async def work(item: Any) -> AsyncIterator[Any]:
        if item == "slow":
            await gate.wait()
        yield item
        if item == "quick":
            gate.set()

    sent = items(("a", "slow", True), ("b", "quick", True))
    assert [result async for result in side_by_side(sent, work)] == ["quick", "slow"]


async def test_a_key_may_come_again_after_its_last_item() -> None:
    sent = items(("a", 1, True), ("a", 2, True))
    assert sorted([result async for result in side_by_side(sent, twice)]) == [1, 1, 2, 2]


async def test_errors_come_after_the_results_before_them() -> None:
    async def work(item: Any) -> AsyncIterator[Any]:
        yield item
        if item == 2:
            raise LookupError("two")

    found = []
    with pytest.raises(LookupError, match="two"):
        async for result in side_by_side(items(("a", 1, False), ("a", 2, False)), work):
            found.append(result)
    assert found == [1, 2]

    async def broken() -> AsyncIterator[tuple[Any, Any, bool]]:
        yield "a", 1, False
        raise LookupError("the source")

    with pytest.raises(LookupError, match="the source"):
        async for _ in side_by_side(broken(), twice):
            pass


async def test_closing_closes_the_work_and_reads_no_further() -> None:
    closed = []
    read = 0

    async def endless() -> AsyncIterator[tuple[Any, Any, bool]]:
        nonlocal read
        while True:
            read += 1
            yield "a", read, False

    async def work(item: Any) -> AsyncIterator[Any]:
        try:
            while True:
                yield item
        finally:
            closed.append(item)

    results: Any = side_by_side(endless(), work)
    async with aclosing(results):
        async for _ in results:
            break
    assert closed == [1]
    assert read < 20
