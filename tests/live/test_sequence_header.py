"""`x-sequence-id` on every wire: checked against the body, given back, no sequence by itself."""

from __future__ import annotations

import json
from typing import Any

import grpc
import httpx
import pytest

from clients.grpc_client import GrpcTextClient
from clients.sse_client import SseClient
from tests.live.grpc_calls import (
    SERVICE,
    channel,
    error_of,
    infer,
    stream,
    text_request,
    triton_stream,
    words,
)
from tests.live.rest_calls import path, prompt
from tests.live.service import Service

HEADER = "x-sequence-id"
WHOLE = {"sequence_start": True, "sequence_end": True}
CALLS = ("infer", "generate", "infer_stream", "generate_stream", "versions/1/infer")


def post(service: Service, call: str, said: str | None, **parameters: Any) -> httpx.Response:
    headers = {} if said is None else {HEADER: said}
    body = prompt("a", **parameters)
    return httpx.post(f"{service.url}{path('text-model', call)}", json=body, headers=headers)


@pytest.mark.parametrize("call", CALLS)
def test_over_rest(service: Service, call: str):
    answer = post(service, call, f"rest {call}", sequence_id=f"rest {call}", **WHOLE)
    assert (answer.status_code, answer.headers[HEADER]) == (200, f"rest {call}")
    refused = post(service, call, "one", sequence_id="another", **WHOLE)
    assert refused.status_code == 400
    assert refused.json()["error"] == (
        "'x-sequence-id' names sequence 'one', the request's 'sequence_id' sequence 'another'; "
        "they must be the same."
    )
    # The header alone is the balancer's business: the model meets no sequence, so needs no START.
    alone = post(service, call, "one")
    assert (alone.status_code, alone.headers[HEADER]) == (200, "one")
    without = post(service, call, None, sequence_id=f"rest {call}", **WHOLE)
    assert without.status_code == 200
    assert HEADER not in without.headers


async def initial_metadata(address: str, method: str, *requests: Any, said: str) -> dict[str, Any]:
    async with channel(address) as connection:
        if method == "ModelInfer":
            call: Any = connection.unary_unary(SERVICE + method)(
                requests[0].SerializeToString(), metadata=((HEADER, said),)
            )
            await call
        else:
            call = connection.stream_stream(SERVICE + method)(
                iter([each.SerializeToString() for each in requests]), metadata=((HEADER, said),)
            )
            assert [reply async for reply in call]
        return dict(await call.initial_metadata())


@pytest.mark.parametrize("port", ["grpc_address", "triton_address"])
@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_over_grpc(service: Service, port: str, method: str):
    address, id = getattr(service, port), f"{port} {method}"
    request = text_request("a", sequence_id=id, **WHOLE)
    assert (await initial_metadata(address, method, request, said=id))[HEADER] == id
    assert (await initial_metadata(address, method, text_request("a"), said=id))[HEADER] == id


@pytest.mark.parametrize("port", ["grpc_address", "triton_address"])
async def test_a_unary_call_of_another_sequence(service: Service, port: str):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(
            getattr(service, port),
            text_request("a", sequence_id="another", **WHOLE),
            metadata=((HEADER, "one"),),
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "they must be the same" in (caught.value.details() or "")


async def test_messages_of_another_sequence_fail_alone(service: Service):
    requests = [
        text_request("a", request_id="1", sequence_id="mixed", **WHOLE),
        text_request("b", request_id="2", sequence_id="another", **WHOLE),
        text_request("c", request_id="3", sequence_id="mixed", **WHOLE),
    ]
    metadata = ((HEADER, "mixed"),)
    found = {
        each.id: each for each in await stream(service.grpc_address, requests, metadata=metadata)
    }
    assert words([found["1"], found["3"]]) == ["a", "c"]
    assert (error_of(found["2"]) or (0, ""))[0] == 400
    replies = await triton_stream(service.triton_address, requests, metadata=metadata)
    errors = {response.id: error for error, response in replies}
    assert {id for id, error in errors.items() if error} == {"2"}
    assert "they must be the same" in errors["2"]


async def test_several_sequences_of_one_stream_go_without_it(service: Service):
    requests = [
        text_request(id, request_id=id, sequence_id=f"several {id}", **WHOLE) for id in ("a", "b")
    ]
    assert words(await stream(service.grpc_address, requests)) == ["a", "b"]


async def test_our_clients_send_it(service: Service):
    parameters: dict[str, Any] = {"sequence_id": "größe", "delay": 0, **WHOLE}
    sse = SseClient(port=httpx.URL(service.url).port or 0)
    assert [word async for word in sse.words("a b", parameters)] == ["a", " b"]
    async with GrpcTextClient(port=service.grpc) as client:
        assert [word async for word in client.words("a b", parameters)] == ["a", " b"]


def test_at_a_replica_that_does_not_know_it(service: Service):
    """What comes of a running sequence when a set of replicas is resized: START is needed."""
    refused = post(service, "infer", "moved", sequence_id="moved")
    assert refused.status_code == 400
    assert "must specify the START flag" in json.loads(refused.text)["error"]
    assert post(service, "infer", "moved", sequence_id="moved", **WHOLE).status_code == 200


@pytest.mark.parametrize("call", CALLS)
def test_two_headers_are_no_sequence(call: str, service: Service) -> None:
    """A balancer may go by the last of them, a server look at the first."""
    body = prompt("a", sequence_id="one", **WHOLE)
    url = f"{service.url}{path('text-model', call)}"
    for said, status in ((("one", "two"), 400), (("two", "one"), 400), (("one", "one"), 200)):
        answer = httpx.post(url, json=body, headers=[(HEADER, each) for each in said])
        assert answer.status_code == status, said


@pytest.mark.parametrize("port", ["grpc_address", "triton_address"])
async def test_two_values_of_metadata_are_no_sequence(port: str, service: Service) -> None:
    request = text_request("a", sequence_id="one", **WHOLE).SerializeToString()
    async with channel(getattr(service, port)) as connection:
        call = connection.unary_unary(SERVICE + "ModelInfer")
        for said in (("one", "two"), ("two", "one")):
            with pytest.raises(grpc.aio.AioRpcError, match="they must be the same") as refused:
                await call(request, metadata=tuple((HEADER, each) for each in said))
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert await call(request, metadata=((HEADER, "one"), (HEADER, "one")))
