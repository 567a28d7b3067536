import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtimes.detection.batches import Batches


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Doubling:
    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.seen.append(list(items))
        if 13 in items:
            raise ValueError("thirteen")
        return [item * 2 for item in items]


def parity(item: int) -> int:
    return item % 2


async def test_what_comes_together_goes_together(pool: ThreadPoolExecutor) -> None:
    run = Doubling()
    batches = Batches(run, lambda _: 0, 4, pool)
    assert await asyncio.gather(*map(batches.put, range(10))) == [n * 2 for n in range(10)]
    assert run.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert await batches.put(50) == 100


async def test_kinds_do_not_mix(pool: ThreadPoolExecutor) -> None:
    run = Doubling()
    batches = Batches(run, parity, 4, pool)
    await asyncio.gather(*map(batches.put, [0, 2, 1, 4]))
    assert run.seen == [[0, 2], [1], [4]]


async def test_an_error_is_told_to_its_batch_only(pool: ThreadPoolExecutor) -> None:
    batches = Batches(Doubling(), parity, 4, pool)
    found = await asyncio.gather(*map(batches.put, [13, 15, 2]), return_exceptions=True)
    assert [str(each) for each in found] == ["thirteen", "thirteen", "4"]


async def test_what_is_withdrawn_is_not_worked_on(pool: ThreadPoolExecutor) -> None:
    run = Doubling()
    batches = Batches(run, lambda _: 0, 4, pool)
    futures = [batches.put(number) for number in range(3)]
    futures[1].cancel()
    assert await futures[2] == 4
    assert run.seen == [[0, 2]]
