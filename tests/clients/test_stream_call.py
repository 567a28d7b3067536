"""A server that refuses a call while its first request is being written: the reason arrives."""

import asyncio
import threading
from collections import Counter

import grpc
import pytest
from grpc.aio._call import StreamStreamCall

import clients.stream_call
from clients.errors import LostReasonError, RefusedError
from clients.grpc_client import GrpcTextClient
from clients.jpeg_stream import JpegStream
from clients.stream_call import TRIES
from tests.clients.responses import element, raw_response


def refuse(requests, context):
    """Before anything is read."""
    context.abort(grpc.StatusCode.NOT_FOUND, "There is no model 'x' here.")
    yield


def refuse_later(requests, context):
    next(requests)
    yield from refuse(requests, context)


class Lost:
    """Lets writes lose the race against the end of their call, as grpc.aio's own `_write` does."""

    def __init__(self, monkeypatch) -> None:
        self.times, self.at, self.calls, self._served = 0, 0, [], 0
        self._overwritten = []
        self._written, self._ended = Counter(), threading.Semaphore(0)
        self._write = StreamStreamCall.write
        self.one = asyncio.Event()
        lost = self

        async def write(call, request):
            await lost.write(call, request)

        monkeypatch.setattr(StreamStreamCall, "write", write)

    async def write(self, call, request) -> None:
        if call not in self.calls:
            self.calls.append(call)
        self._written[call] += 1
        loses = self.calls.index(call) < self.times and self._written[call] == self.at + 1
        if not loses or call.done():
            return await self._write(call, request)

        def overwrite(_):
            # Once: setting a status calls back again.
            if call not in self._overwritten:
                self._overwritten.append(call)
                call._cython_call.set_internal_error("Failed 'execute_batch'")

        call.add_done_callback(overwrite)
        self._ended.release()
        self.one.set()
        await call.code()
        await call._raise_for_status()

    def serve(self, requests, context):
        """The server's side: calls end when they have lost, others are answered."""
        self._served += 1
        if self._served <= self.times:
            self._ended.acquire(timeout=10)
            context.abort(grpc.StatusCode.NOT_FOUND, "nobody hears this")
        for request in requests:
            yield raw_response(request.id, "output", element(request.raw_input_contents[0]))


@pytest.fixture
def lost(monkeypatch):
    return Lost(monkeypatch)


async def texts(port: int, *prompts: str) -> list[str]:
    async with GrpcTextClient(port=port) as client:
        return [response.text async for response in client.responses(prompts)]


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_the_reason_for_refusing_a_call_arrives(serve_grpc, lost, times):
    lost.times = times
    with pytest.raises(RefusedError, match="NOT_FOUND: There is no model 'x' here"):
        await texts(serve_grpc(refuse), "one", "two")


async def test_the_reason_for_refusing_the_first_request_arrives(serve_grpc, lost):
    lost.times, lost.at = 1, 1
    with pytest.raises(RefusedError, match="NOT_FOUND: There is no model 'x' here"):
        await texts(serve_grpc(refuse_later), "one", "two", "three")


async def test_frames_get_the_reason_too(serve_grpc, lost):
    lost.times = 1
    with pytest.raises(RefusedError, match="NOT_FOUND: There is no model 'x' here"):
        async with JpegStream(port=serve_grpc(refuse)):
            pytest.fail("there is no stream")


async def test_a_request_that_did_not_arrive_is_sent_on_another_call(serve_grpc, lost, monkeypatch):
    monkeypatch.setattr(clients.stream_call, "LISTEN_S", 0.01)
    lost.times = 2
    assert await texts(serve_grpc(lost.serve), "one", "two") == ["one", "two"]
    assert len(lost.calls) == 3


async def test_a_reason_that_stays_lost_is_told_as_such(serve_grpc, lost, monkeypatch):
    monkeypatch.setattr(clients.stream_call, "LISTEN_S", 0.001)
    monkeypatch.setattr("clients.retries.FIRST_PAUSE_S", 0.001)
    lost.times = 1000
    with pytest.raises(LostReasonError, match=r"ended the call .* and gRPC lost its reason"):
        await texts(serve_grpc(lost.serve), "one")
    assert len(lost.calls) == TRIES * TRIES


async def test_cancelling_opens_no_other_call(serve_grpc, lost, monkeypatch):
    monkeypatch.setattr(clients.stream_call, "LISTEN_S", 60.0)
    lost.times = 1000
    asking = asyncio.create_task(texts(serve_grpc(lost.serve), "one"))
    await lost.one.wait()
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    assert len(lost.calls) == 1
