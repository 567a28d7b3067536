"""A worker's load has an end, whatever the worker does meanwhile."""

import asyncio
import multiprocessing
import os
import socket
import subprocess
from contextlib import asynccontextmanager

import pytest
from mlserver.settings import ModelSettings

from mlserver_streaming.errors import LoadTimeoutError
from mlserver_streaming.parallel import messages as say
from mlserver_streaming.parallel.channel import Channel
from mlserver_streaming.parallel.link import UNANSWERED_SECONDS, Link
from mlserver_streaming.settings import WorkerSettings


class Worker:
    """A process, which does nothing; its end of the socket is in the test's hands."""

    def __init__(self):
        self._process = subprocess.Popen(["sleep", "600"])
        self.pid = self._process.pid

    @property
    def exitcode(self):
        return self._process.poll()

    def kill(self):
        self._process.kill()


@asynccontextmanager
async def linked(load_seconds, answers):
    """A link to a worker that answers pings, or not; what the worker heard; whether it was lost."""
    ours, theirs = socket.socketpair()
    heard, beats = multiprocessing.Pipe(duplex=False)
    lost = []
    os.write(beats.fileno(), b".")
    link = Link(
        Worker(), ours, heard, WorkerSettings(load_seconds=load_seconds), lost.append, lambda *_: 0
    )
    said = []

    def hear(messages):
        said.extend(messages)
        if answers and (say.PING,) in messages:
            channel.send((say.PONG,))
        for kind, number, *_ in (each for each in messages if each[0] == say.UPDATE):
            assert kind == say.UPDATE
            if answers:
                channel.send((say.LOADING, number))

    channel = Channel(theirs, hear, lambda: None)
    try:
        yield link, said, lost
    finally:
        link.kill()
        link.close()
        channel.close()
        beats.close()
        await link.ended()


SETTINGS = ModelSettings(name="heavy", implementation="mlserver.MLModel")
TOO_LONG = 2 * UNANSWERED_SECONDS


async def test_a_worker_that_answers_meanwhile_is_told_to_stop_loading():
    async with linked(TOO_LONG, answers=True) as (link, said, lost):
        with pytest.raises(LoadTimeoutError, match=r"'heavy' was not loaded within 0.5 s"):
            await link.load(SETTINGS)
        async with asyncio.timeout(20):
            while said[-1][0] != say.CANCEL:  # noqa: ASYNC110 - the channel has no event for it
                await asyncio.sleep(0.01)
        assert not lost and link.worker.exitcode is None


async def test_one_that_does_not_is_ended():
    async with linked(TOO_LONG, answers=False) as (link, _, lost):
        with pytest.raises(LoadTimeoutError):
            await link.load(SETTINGS)
        assert lost == [link]
        assert await link.ended() == -9


def looks_stopped(link):
    """Whether it looks so after a thousand seconds without a heartbeat."""
    return any([link.has_stopped(now / 10) for now in range(10_000)])


async def test_while_it_loads_it_needs_no_heartbeat():
    async with linked(None, answers=True) as (link, _, _lost):
        loading = asyncio.create_task(link.load(SETTINGS))
        async with asyncio.timeout(20):
            while not link._loading:  # noqa: ASYNC110 - it is the worker's word that counts
                await asyncio.sleep(0.01)
        assert not looks_stopped(link)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)


async def test_one_that_has_not_begun_to_load_needs_it():
    async with linked(None, answers=False) as (link, _, _lost):
        loading = asyncio.create_task(link.load(SETTINGS))
        await asyncio.sleep(0)
        assert looks_stopped(link)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
