"""From a thread to the loop: everything, in order, and what the thread failed with."""

import asyncio
import threading

import pytest

from runtimes.language.handover import Handover


async def test_everything_in_order_however_fast_it_comes() -> None:
    handover = Handover()

    def work() -> None:
        for number in range(20_000):
            handover.put(number)
        handover.end()

    thread = threading.Thread(target=work)
    thread.start()
    assert [item async for item in handover.items()] == list(range(20_000))
    thread.join()


async def test_each_is_there_before_the_next_is_made() -> None:
    handover = Handover()
    taken = threading.Semaphore(0)

    def work() -> None:
        for number in range(100):
            handover.put(number)
            assert taken.acquire(timeout=60)
        handover.end()

    thread = threading.Thread(target=work)
    thread.start()
    async for _ in handover.items():
        taken.release()
    thread.join()


async def test_what_it_failed_with_comes_after_what_it_gave() -> None:
    handover = Handover()
    threading.Thread(target=lambda: (handover.put(1), handover.end(KeyError("lost")))).start()
    found = []
    with pytest.raises(KeyError, match="lost"):
        async for item in handover.items():
            found.append(item)
    assert found == [1]


def test_a_loop_that_is_gone_is_no_error_of_the_thread() -> None:
    handover = asyncio.run(made())
    handover.put(1)
    handover.end()


async def made() -> Handover:
    return Handover()
