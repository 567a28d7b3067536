"""A stream outlives its connection: who is cut off comes back for the rest, on each wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import httpx_sse
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from tests.live.grpc_calls import (
    SERVICE,
    channel,
    infer,
    stream,
    text_request,
    triton_stream,
    words,
)
from tests.live.rest_calls import open_gate, path, probe, prompt
from tests.live.service import Service

TEXT = " ".join(f"word{number}" for number in range(51))
STREAM = path("text-model", "generate_stream")


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as opened:
        yield opened


async def some(
    client: httpx.AsyncClient, count: int, body: Any = None, at: str = STREAM, **headers: str
) -> list[httpx_sse.ServerSentEvent]:
    """So many events of a stream, and then the connection is cut."""
    method = "GET" if body is None else "POST"
    found = []
    async with httpx_sse.aconnect_sse(
        client, method, at, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as source:
        assert source.response.status_code == 200, await source.response.aread()
        async for event in source.aiter_sse():
            found.append(event)
            if len(found) == count:
                break
    return found


def text(events: list[httpx_sse.ServerSentEvent]) -> str:
    return "".join(event.json()["text_output"] for event in events)


def flat(words: str = TEXT, **parameters: Any) -> dict[str, Any]:
    return {
        "text_input": words,
        "parameters": {"delay": 0, "resumable": True, **parameters},
    }


async def test_a_connection_cut_after_each_response_loses_and_repeats_none(
    client: httpx.AsyncClient,
):
    found = await some(client, 1, flat(delay=0.002))
    stream_id = found[0].id.rpartition(".")[0]
    assert found[0].json()["resume_seconds"] == 60
    for number in range(1, 51):
        # By its address, and by the same call again, as fetch's readers do it.
        body, at = (None, f"/v2/streams/{stream_id}") if number % 2 else (flat(), STREAM)
        found += await some(client, 1, body, at, last_event_id=found[-1].id)
    assert text(found) == TEXT
    assert [event.id for event in found] == [f"{stream_id}.{n}" for n in range(1, 52)]
    # An EventSource that comes back once more is told that there is no more.
    over = await client.get(f"/v2/streams/{stream_id}", headers={"last-event-id": found[-1].id})
    assert (over.status_code, over.content) == (204, b"")


async def test_a_stream_that_nobody_hears_at_first_is_there_for_two(client: httpx.AsyncClient):
    begun = await client.post(STREAM, json=flat(), headers={"prefer": "wait=1, respond-async"})
    assert begun.status_code == 202
    at = begun.headers["location"]
    assert begun.json() == {"id": at.rpartition("/")[2], "location": at, "resume_seconds": 60}
    both = await asyncio.gather(some(client, 99, at=at), some(client, 99, at=at))
    assert [text(found) for found in both] == [TEXT, TEXT]
    [listed] = [each for each in (await client.get("/v2/streams")).json() if each["id"] in at]
    assert (listed["model_name"], listed["state"]) == ("text-model", "completed")
    assert (listed["responses"], listed["first_response"]) == (51, 1)
    assert listed["bytes"] < 32 * 1024
    assert 50 < listed["seconds_left"] <= 60


async def test_a_look_at_a_stream_that_runs_is_answered_at_once(
    client: httpx.AsyncClient, tmp_path: Path
):
    body = probe(steps=3, gate=str(tmp_path / "gate"), resumable=True)
    # RFC 7240: a preference may have parameters, and a line of its own.
    prefer = [("prefer", "wait=1"), ("prefer", "Respond-Async; as=asked")]
    begun = await client.post(path("probe", "infer_stream"), json=body, headers=prefer)
    assert begun.status_code == 202
    at = begun.headers["location"]
    looked = await client.head(at)
    assert (looked.status_code, looked.headers["x-stream-id"]) == (200, begun.json()["id"])
    assert "content-length" not in looked.headers  # GET would have another
    assert (await client.head(at + "x")).status_code == 404
    [listed] = [each for each in (await client.get("/v2/streams")).json() if each["id"] in at]
    assert listed["seconds_left"] is not None  # who looks is no reader
    assert (await client.delete(at)).status_code == 204


async def test_who_cancels_a_stream_ends_its_model_and_its_readers(
    client: httpx.AsyncClient, tmp_path: Path
):
    did, gate = tmp_path / "did", tmp_path / "gate"
    body = probe(steps=3, gate=str(gate), path=str(did), resumable=True)
    open_gate(gate, 1)
    [first] = await some(client, 1, body, path("probe", "infer_stream"))
    at = "/v2/streams/" + first.id.rpartition(".")[0]
    reading = asyncio.create_task(some(client, 9, at=at))
    # Polled: nobody else knows that it is read.
    while (await client.get("/v2/streams")).json()[-1]["seconds_left"] is not None:
        pass
    assert (await client.delete(at)).status_code == 204
    found = await reading
    assert found[-1].event == "error"
    assert found[-1].json() == {"error": "This stream was cancelled by its caller."}
    gone = await client.get(at)
    assert gone.status_code == 404
    assert "You have no stream" in gone.json()["error"]
    assert (await client.delete(at)).status_code == 404


@pytest.mark.parametrize(
    ("place", "status", "said"),
    [
        ("{}.99", 400, "Response 99 of this stream is not there yet: the last is 3"),
        ("{}.-1", 400, "is no place in a stream"),
        ("nonsense", 400, "is no place in a stream"),
        ("\xff.1", 400, "is no place in a stream"),
        ("other.1", 400, "is no place in this stream"),
    ],
)
async def test_a_place_that_there_is_not(
    client: httpx.AsyncClient, place: str, status: int, said: str
):
    [event] = await some(client, 1, flat("a b c"))
    stream_id = event.id.rpartition(".")[0]
    headers = {"last-event-id": place.format(stream_id).encode("latin-1")}
    found = await client.get(f"/v2/streams/{stream_id}", headers=headers)
    assert found.status_code == status
    assert said in found.json()["error"]


async def test_a_wish_that_cannot_be_understood_and_one_that_is_none(client: httpx.AsyncClient):
    refused = await client.post(STREAM, json=flat(resumable="yes"))
    assert refused.status_code == 400
    assert refused.json() == {"error": "Parameter 'resumable' must be true or false."}
    plain = await client.post(STREAM, json=flat("a b", resumable=False))
    assert "x-stream-id" not in plain.headers
    assert plain.text.startswith("data: ")
    # A unary call has nothing to come back to; the model does not see the wish either.
    whole = await client.post(path("text-model", "generate"), json=flat("a b"))
    assert whole.json()["text_output"] == "a b"


async def test_the_form_and_the_encoding_are_those_that_were_asked_for(client: httpx.AsyncClient):
    [first] = await some(client, 1, flat("a b c", cache="skip") | {"id": "mine"})
    rest = await some(
        client, 9, at=f"/v2/streams/{first.id.rpartition('.')[0]}", last_event_id=first.id
    )
    assert [event.json() for event in rest] == [
        {"model_name": "text-model", "model_version": "", "id": "mine", "text_output": word}
        for word in (" b", " c")
    ]
    body = prompt("a b c", resumable=True)
    whole = await client.post(path("text-model", "infer_stream"), json=body)
    assert whole.headers["content-encoding"] == "gzip"
    at = "/v2/streams/" + whole.headers["x-stream-id"]
    assert (await client.get(at)).text == whole.text  # the headers of the first among it
    assert '"Ce-' in whole.text


async def cut(
    address: str, request: pb.ModelInferRequest, count: int, gate: Path
) -> list[pb.ModelInferResponse]:
    """So many responses of a gRPC stream, and then the call is cancelled."""
    found = []
    async with channel(address) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(request.SerializeToString())
        for number in range(count):
            open_gate(gate, number + 1)
            found.append(pb.ModelInferResponse.FromString(await call.read()))
        call.cancel()
    return found


def places(found: list[pb.ModelInferResponse]) -> list[int]:
    return [int(each.parameters["resume_id"].string_param.rpartition(".")[2]) for each in found]


async def test_a_grpc_stream_is_read_on_where_it_was_cut(service: Service):
    request = text_request(TEXT, request_id="mine", resumable=True, delay=0.002)
    async with channel(service.grpc_address) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(request.SerializeToString())
        first = [pb.ModelInferResponse.FromString(await call.read()) for _ in range(3)]
        call.cancel()
    assert places(first) == [1, 2, 3]
    place = first[-1].parameters["resume_id"].string_param
    rest = await stream(service.grpc_address, [], metadata=(("x-resume", place),))
    assert "".join(words([*first, *rest])) == TEXT
    assert places(rest) == list(range(4, 52))
    assert {each.id for each in rest} == {"mine"}
    # Over HTTP it is the same stream.
    async with httpx.AsyncClient(base_url=service.url) as client:
        found = await some(client, 99, at="/v2/streams/" + place.rpartition(".")[0])
    assert len(found) == 51


async def test_several_requests_of_one_grpc_stream_are_one_stream(service: Service):
    requests = [text_request(f"a{i} b{i}", request_id=str(i), resumable=True) for i in range(3)]
    found = await stream(service.grpc_address, requests)
    assert places(found) == list(range(1, 7))
    place = found[2].parameters["resume_id"].string_param
    rest = await stream(service.grpc_address, [], metadata=(("x-resume", place),))
    assert [(each.id, word) for each, word in zip(rest, words(rest), strict=True)] == [
        *(("1", " b1"), ("2", "a2"), ("2", " b2")),
    ]


async def test_a_triton_stream_is_read_on_and_its_last_response_says_so(service: Service):
    request = text_request("a b c", request_id="mine", resumable=True)
    found = await triton_stream(service.triton_address, [request])
    place = found[0][1].parameters["resume_id"].string_param
    rest = await triton_stream(service.triton_address, [], metadata=(("x-resume", place),))
    assert [error for error, _ in rest] == ["", ""]
    assert words(each for _, each in rest) == [" b", " c"]
    finals = [each.parameters["triton_final_response"].bool_param for _, each in rest]
    assert finals == [False, True]


@pytest.mark.parametrize("triton", [False, True])
async def test_a_grpc_client_that_comes_back_wrongly_is_told_how(service: Service, triton: bool):
    address = service.triton_address if triton else service.grpc_address
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(address, [], metadata=(("x-resume", "there-is-none.3"),))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(address, [], metadata=(("x-resume", "3"),))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_grpc_client_that_comes_back_and_asks_is_answered_and_told(service: Service):
    found = await stream(service.grpc_address, [text_request("a b", resumable=True)])
    place = (("x-resume", found[0].parameters["resume_id"].string_param),)
    async with channel(service.grpc_address) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")
        for _ in range(10):
            # It ended: with what there was, or with the refusal. It hung where a message was cut.
            reading = call(iter([text_request("c").SerializeToString()]), metadata=place)
            assert await reading.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)


async def test_a_sequence_and_a_wish_for_outputs_are_answered_as_ever(client: httpx.AsyncClient):
    body = prompt("a b", resumable=True, sequence_id=7, sequence_start=True, sequence_end=True)
    body["outputs"] = [{"name": "output"}]
    found = await some(client, 9, body, path("text-model", "infer_stream"))
    assert [event.json()["outputs"][0]["data"] for event in found] == [["a"], [" b"]]
    refused = await client.post(
        path("text-model", "infer_stream"), json=body | {"outputs": [{"name": "none"}]}
    )
    assert refused.status_code == 400


async def test_a_unary_grpc_call_takes_no_notice(service: Service):
    found = await infer(service.grpc_address, text_request("a b", resumable=True))
    assert "resume_id" not in found.parameters
