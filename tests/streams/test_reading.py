"""Requests as a model reads them, whose wire may go before it has read all."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from mlserver.types import InferenceRequest

from mlserver_streaming.errors import UnreadRequestsError
from mlserver_streaming.streams.reading import Reading


def request(id: str) -> InferenceRequest:
    return InferenceRequest(id=id, inputs=[])


@pytest.mark.parametrize("skipped", [(), (2,)])
async def test_who_answers_hears_of_requests_that_it_will_not_get(skipped: tuple[int, ...]):
    send, receive = anyio.create_memory_object_stream[InferenceRequest](2)
    reading = Reading(receive, asyncio.Event())
    for number in skipped:
        reading.skip(number)
    send.send_nowait(request("1"))
    assert (await anext(reading)).id == "1"
    send.send_nowait(request("2"))
    send.close()
    receive.close()
    if skipped:  # its caller wants no answer
        assert await anext(reading, None) is None
        return
    with pytest.raises(UnreadRequestsError, match="ask again for what is not answered"):
        await anext(reading)


async def test_who_answers_all_that_came_ends_well():
    send, receive = anyio.create_memory_object_stream[InferenceRequest](2)
    reading = Reading(receive, asyncio.Event())
    send.send_nowait(request("1"))
    assert (await anext(reading)).id == "1"
    send.close()
    receive.close()
    assert await anext(reading, None) is None


async def test_requests_that_are_there_are_read_without_a_turn_of_the_loop():
    send, receive = anyio.create_memory_object_stream[InferenceRequest](2)
    reading = Reading(receive, asyncio.Event())
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    turn()
    for number in ("1", "2"):
        send.send_nowait(request(number))
        assert (await anext(reading)).id == number
    assert turns == 1
    send.close()
    assert await anext(reading, None) is None
    receive.close()
