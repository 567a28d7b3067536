import asyncio

import pytest

from mlserver_streaming.rest.cycles import ANSWER
from mlserver_streaming.rest.hang_up import stop_on_hang_up


class Connection:
    def __init__(self):
        self.gone = asyncio.Event()
        self.watched = asyncio.Event()

    async def __call__(self):
        self.watched.set()
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def test_the_block_is_left_quietly_when_the_client_goes():
    connection = Connection()
    steps = []
    with stop_on_hang_up(connection):
        try:
            connection.gone.set()
            await asyncio.Event().wait()
        finally:
            steps.append("closed")
    steps.append("after")
    await asyncio.sleep(0)  # a cancellation that was left over would come here
    assert steps == ["closed", "after"]
    assert asyncio.current_task().cancelling() == 0


async def test_a_block_that_ends_by_itself_stops_watching():
    connection = Connection()
    with stop_on_hang_up(connection):
        await connection.watched.wait()
    connection.gone.set()
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_what_is_not_a_disconnect_is_no_reason_to_stop():
    messages = [{"type": "http.request"}, {"type": "http.request"}]
    connection = Connection()

    async def receive():
        return messages.pop() if messages else await connection()

    with stop_on_hang_up(receive):
        await connection.watched.wait()
    assert not messages


async def test_another_cancellation_passes_through():
    connection = Connection()
    entered = asyncio.Event()

    async def serve():
        with stop_on_hang_up(connection):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_is_a_cancellation():
    connection = Connection()
    entered = asyncio.Event()

    async def serve():
        with stop_on_hang_up(connection):
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)

    task = asyncio.create_task(serve())
    await entered.wait()
    await connection.watched.wait()
    connection.gone.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_stays_that_error():
    with pytest.raises(ValueError, match="mine"), stop_on_hang_up(Connection()):
        raise ValueError("mine")


class Answer:
    """An answer of our own server, which says by itself when its client goes."""

    def __init__(self, disconnected=False):
        self.disconnected = disconnected
        self.on_hang_up = None
        self.scope = {"extensions": {ANSWER: {"cycle": self}}}


async def never():
    raise AssertionError("nobody needs to wait for the client")


async def test_our_server_says_by_itself_that_the_client_goes():
    answer, steps = Answer(), []
    with stop_on_hang_up(never, answer.scope) as watching:
        asyncio.get_running_loop().call_soon(answer.on_hang_up)
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("closed")
    await asyncio.sleep(0)
    assert (steps, watching.hung_up, answer.on_hang_up) == (["closed"], True, None)
    assert asyncio.current_task().cancelling() == 0


async def test_a_client_that_has_gone_before_stops_the_block_where_it_waits():
    with stop_on_hang_up(never, Answer(disconnected=True).scope) as watching:
        await asyncio.Event().wait()
    assert watching.hung_up


async def test_a_block_that_waits_for_nothing_is_not_stopped_and_nothing_after_it():
    with stop_on_hang_up(never, Answer(disconnected=True).scope) as watching:
        pass
    await asyncio.sleep(0)
    assert not watching.hung_up
