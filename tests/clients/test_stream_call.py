"""A server that refuses a call while its first request is being written: the reason arrives."""

import asyncio
from itertools import count

import grpc
import pytest

import clients.stream_call
from clients.errors import LostReasonError, RefusedError
from clients.grpc_client import GrpcTextClient
from clients.jpeg_stream import JpegStream
from clients.stream_call import TRIES
from tests.clients.responses import element, raw_response
from tests.lost_writes import Lost


def refuse(requests, context):
    """Before anything is read."""
    context.abort(grpc.StatusCode.NOT_FOUND, "There is no model 'x' here.")
    yield


def refuse_later(requests, context):
    next(requests)
    yield from refuse(requests, context)


@pytest.fixture
def lost(monkeypatch):
    return Lost(monkeypatch)


def losing(lost):
    """A server whose calls end when they have lost; others are answered."""
    calls = count()

    def answer(requests, context):
        if next(calls) < lost.times:
            lost.ended.acquire(timeout=10)
            context.abort(grpc.StatusCode.NOT_FOUND, "nobody hears this")
        for request in requests:
            yield raw_response(request.id, "output", element(request.raw_input_contents[0]))

    return answer


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
    assert await texts(serve_grpc(losing(lost)), "one", "two") == ["one", "two"]
    assert len(lost.calls) == 3


async def test_a_reason_that_stays_lost_is_told_as_such(serve_grpc, lost, monkeypatch):
    monkeypatch.setattr(clients.stream_call, "LISTEN_S", 0.001)
    lost.times = 1000
    with pytest.raises(LostReasonError, match=r"ended the call .* and gRPC lost its reason"):
        await texts(serve_grpc(losing(lost)), "one")
    assert len(lost.calls) == TRIES * TRIES


async def test_cancelling_opens_no_other_call(serve_grpc, lost, monkeypatch):
    monkeypatch.setattr(clients.stream_call, "LISTEN_S", 60.0)
    lost.times = 1000
    asking = asyncio.create_task(texts(serve_grpc(losing(lost)), "one"))
    await lost.one.wait()
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    assert len(lost.calls) == 1
