"""With `tracing_server` set: one span for each call, in the caller's own trace."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
import websockets

from tests.live.collector import Collector, collecting
from tests.live.conftest import make_folder
from tests.live.grpc_calls import infer, stream, text_request, triton_stream
from tests.live.rest_calls import path, probe, prompt
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import wait_until

WORDS = 200
TEXT = " ".join("w" for _ in range(WORDS))
Traced = tuple[Service, Collector]


class Caller:
    """A caller's trace: its id, the span that calls, and the header that says so.

    https://www.w3.org/TR/trace-context/#traceparent-header
    """

    def __init__(self) -> None:
        self.trace, self.span = secrets.token_hex(16), secrets.token_hex(8)
        self.traceparent = f"00-{self.trace}-{self.span}-01"
        self.headers = {"traceparent": self.traceparent}
        self.metadata = (("traceparent", self.traceparent),)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with collecting() as collector:
        folder = make_folder(tmp_path_factory.mktemp("traced"), tracing_server=collector.address)
        soon = {"OTEL_BSP_SCHEDULE_DELAY": "50"}  # milliseconds
        with WarmService(folder, folder / "server.log", **soon) as service:
            yield service, collector


async def only_span(collector: Collector, caller: Caller) -> Any:
    """The one span of the caller's trace, of which the caller's span is the parent."""
    await wait_until(lambda: bool(collector.of(caller.trace)))
    [span] = collector.of(caller.trace)
    assert span.parent_span_id.hex() == caller.span
    return span


def events(span: Any) -> list[str]:
    return [event.name for event in span.events]


def end(span: Any) -> dict[str, Any]:
    """What the event of the stream's end says."""
    [found] = [event for event in span.events if event.name == "end"]
    return {
        attribute.key: attribute.value.string_value or attribute.value.int_value
        for attribute in found.attributes
    }


async def sse(service: Service, caller: Caller) -> None:
    async with httpx.AsyncClient(base_url=service.url, headers=caller.headers) as client:
        answer = await client.post(path("text-model", "generate_stream"), json=prompt(TEXT))
    assert answer.text.count("data: ") == WORDS


async def over_grpc(service: Service, caller: Caller) -> None:
    requests = [text_request(TEXT)]
    replies = await stream(service.grpc_address, requests, metadata=caller.metadata)
    assert len(replies) == WORDS


async def over_triton(service: Service, caller: Caller) -> None:
    requests = [text_request(TEXT)]
    replies = await triton_stream(service.triton_address, requests, metadata=caller.metadata)
    assert len(replies) == WORDS


@pytest.mark.parametrize("call", [sse, over_grpc, over_triton])
async def test_a_stream_is_one_span_in_the_caller_s_trace(traced: Traced, call: Any):
    service, collector = traced
    caller = Caller()
    await call(service, caller)
    span = await only_span(collector, caller)
    assert events(span) == ["first response", "end"]
    assert end(span) == {"model": "text-model", "reason": "completed", "responses": WORDS}
    assert span.status.code == span.status.STATUS_CODE_UNSET
    times = [span.start_time_unix_nano, *(event.time_unix_nano for event in span.events)]
    assert times == sorted(times)
    assert span.kind == span.SPAN_KIND_SERVER
    name = "generate_stream" if call is sse else "ModelStreamInfer"
    assert name in span.name
    # Only what it is of: no path or name of the caller's own making.
    assert "text-model" not in span.name


async def test_a_unary_call_is_one_span(traced: Traced):
    service, collector = traced
    rest, over_grpc = Caller(), Caller()
    async with httpx.AsyncClient(base_url=service.url, headers=rest.headers) as client:
        assert (await client.post(path("text-model", "infer"), json=prompt("a"))).is_success
    await infer(service.grpc_address, text_request("a"), metadata=over_grpc.metadata)
    for caller in (rest, over_grpc):
        assert events(await only_span(collector, caller)) == []


async def test_a_stream_that_fails_says_so(traced: Traced):
    service, collector = traced
    rest, over_grpc = Caller(), Caller()
    async with httpx.AsyncClient(base_url=service.url, headers=rest.headers) as client:
        body = probe(steps=3, fail_at=1)
        answer = await client.post(path("probe", "generate_stream"), json=body)
        assert "event: error" in answer.text
    failing = text_request("x", model="probe", steps=3, fail_at=1)
    with pytest.raises(grpc.aio.AioRpcError):
        await stream(service.grpc_address, [failing], metadata=over_grpc.metadata)
    for caller in (rest, over_grpc):
        span = await only_span(collector, caller)
        assert events(span)[:2] == ["first response", "end"]
        assert end(span) == {"model": "probe", "reason": "error", "responses": 1}
        assert span.status.code == span.status.STATUS_CODE_ERROR


async def test_probes_are_not_traced(traced: Traced):
    service, collector = traced
    probes, last = Caller(), Caller()
    async with httpx.AsyncClient(base_url=service.url, headers=probes.headers) as client:
        for probed in ("live", "ready"):
            assert (await client.get(f"/v2/health/{probed}")).is_success
    await sse(service, last)
    await only_span(collector, last)
    assert not collector.of(probes.trace)


async def test_without_a_caller_s_trace_a_stream_begins_its_own(traced: Traced):
    service, collector = traced
    before = len(collector.spans)
    await stream(service.grpc_address, [text_request("a")])
    await wait_until(lambda: len(collector.spans) > before)
    [span] = collector.spans[before:]
    assert not span.parent_span_id


async def test_traces_are_switched_off_and_on_again(traced: Traced) -> None:
    """By Triton's names, over HTTP; what is traced next is of the second time."""
    service, collector = traced
    unheard, heard = Caller(), Caller()
    async with httpx.AsyncClient(base_url=service.url) as client:
        off = await client.post("/v2/trace/setting", json={"trace_level": ["OFF"]})
        assert off.json()["trace_level"] == ["OFF"]
        await over_grpc(service, unheard)
        on = await client.post("/v2/trace/setting", json={"trace_level": None})
        assert on.json()["trace_level"] == ["TIMESTAMPS"]
        await over_grpc(service, heard)
    await only_span(collector, heard)
    assert not collector.of(unheard.trace)


async def test_a_socket_is_one_span(traced: Traced) -> None:
    service, collector = traced
    caller = Caller()
    uri = f"ws://127.0.0.1:{service.http}/v2/models/text-model/stream"
    async with websockets.connect(uri, additional_headers=caller.headers) as socket:
        asked = {"id": "1", "text_input": TEXT, "parameters": {"delay": 0}, "own_stream": True}
        await socket.send(json.dumps(asked))
        while "final" not in json.loads(await socket.recv()):
            pass
        await socket.send(json.dumps({"end": True}))
        await socket.wait_closed()
    span = await only_span(collector, caller)
    assert events(span) == ["first response", "end"]
    assert end(span)["responses"] == WORDS
