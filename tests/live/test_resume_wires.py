"""Streams that outlive their connections: bodies of many requests, lines, sockets; and over gRPC
they are listed and cancelled."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import httpx_sse
import pytest
import websockets
from mlserver.grpc import dataplane_pb2 as pb

from tests.live.grpc_calls import SERVICE, channel, stream, text_request, triton_stream
from tests.live.rest_calls import path, probe
from tests.live.service import ROOT, Service

PAGE = (ROOT / "docs" / "resume.md").read_text()
STREAM = path("text-model", "generate_stream")
LINES = {"content-type": "application/x-ndjson"}
GET_LINES = {"accept": "application/x-ndjson"}


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as opened:
        yield opened


def flat(text: str, id: str = "1", **parameters: Any) -> dict[str, Any]:
    return {"id": id, "text_input": text, "delay": 0, "resumable": True, **parameters}


def body(*requests: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in requests)


def told(answers: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["id"], each["text_output"]) for each in answers]


async def events(
    client: httpx.AsyncClient, method: str, at: str, **asked: Any
) -> list[httpx_sse.ServerSentEvent]:
    async with httpx_sse.aconnect_sse(client, method, at, **asked) as source:
        assert source.response.status_code == 200, await source.response.aread()
        return [event async for event in source.aiter_sse()]


async def test_a_body_of_many_requests_is_one_stream(client: httpx.AsyncClient):
    sent = body(flat("a b", "1"), {"id": "2", "text_input": "c d", "delay": 0})
    found = await events(client, "POST", STREAM, content=sent, headers=LINES)
    stream_id = found[0].id.partition(".")[0]
    assert [each.id for each in found] == [f"{stream_id}.{n}" for n in range(1, 5)]
    answers = [each.json() for each in found]
    assert told(answers) == [("1", "a"), ("1", " b"), ("2", "c"), ("2", " d")]
    assert "resume_id" not in str(answers)
    # By its address, and by the same call again, which asks nothing; then there is no more.
    last = {"last-event-id": found[1].id}
    at = f"/v2/streams/{stream_id}"
    for method, target, asked in (
        ("GET", at, {"headers": last}),
        ("POST", STREAM, {"content": sent, "headers": LINES | last}),
    ):
        rest = await events(client, method, target, **asked)
        assert [(each.id, each.data) for each in rest] == [(e.id, e.data) for e in found[2:]]
    over = await client.get(at, headers={"last-event-id": found[-1].id})
    assert over.status_code == 204


async def test_a_body_that_is_cut_off_is_answered_as_far_as_it_was_read(client: httpx.AsyncClient):
    async def sent() -> AsyncIterator[bytes]:
        yield body(flat("a b c", "cut off"))
        await asyncio.Event().wait()

    async def begun() -> set[str]:
        return {each["id"] for each in (await client.get("/v2/streams")).json()}

    before = await begun()
    asked = client.build_request("POST", STREAM, content=sent(), headers=LINES)
    answer = asyncio.create_task(client.send(asked, stream=True))
    while not (now := await begun() - before):
        pass  # httpx reads nothing before it has sent all
    answer.cancel()
    rest = await events(client, "GET", f"/v2/streams/{now.pop()}")
    assert told([each.json() for each in rest]) == [("cut off", text) for text in ("a", " b", " c")]


async def test_a_multipart_is_one_stream_too(client: httpx.AsyncClient):
    files = [
        ("resumable", (None, b"true")),
        *(
            ("x", (None, json.dumps(flat(text, text)).encode(), "application/json"))
            for text in "ab"
        ),
    ]
    found = await events(client, "POST", STREAM, files=files)
    rest = await events(
        client,
        "GET",
        f"/v2/streams/{found[0].id.partition('.')[0]}",
        headers={"last-event-id": found[0].id},
    )
    assert [(each.id, each.data) for each in rest] == [(found[1].id, found[1].data)]


@pytest.mark.parametrize("many", [False, True])
async def test_lines_have_their_place_in_their_json(client: httpx.AsyncClient, many: bool):
    headers = {**GET_LINES, **(LINES if many else {})}
    first = await client.post(STREAM, content=body(flat("a b c")), headers=headers)
    assert first.headers["content-type"] == "application/x-ndjson"
    found = [json.loads(line) for line in first.text.splitlines()]
    stream_id = found[0]["resume_id"].partition(".")[0]
    assert [each["resume_id"] for each in found] == [f"{stream_id}.{n}" for n in (1, 2, 3)]
    assert found[0]["resume_seconds"] == 60
    at, last = f"/v2/streams/{stream_id}", {"last-event-id": found[0]["resume_id"]}
    rest = await client.get(at, headers=GET_LINES | last)
    assert [json.loads(line) for line in rest.text.splitlines()] == found[1:]
    assert (await client.get(at, headers=GET_LINES)).text == first.text
    # Whoever wants events gets them.
    as_events = await events(client, "GET", at, headers=last)
    assert told([each.json() for each in as_events]) == told(found[1:])
    over = await client.get(at, headers=GET_LINES | {"last-event-id": found[-1]["resume_id"]})
    assert over.status_code == 204


async def test_a_stream_goes_on_over_another_wire(service: Service, client: httpx.AsyncClient):
    uri = f"{service.url.replace('http', 'ws')}/v2/models/text-model/stream"
    async with websockets.connect(uri, compression=None) as socket:
        await socket.send(json.dumps(flat("a b c", own_stream=True)))
        first = json.loads(await socket.recv())
        socket.transport.abort()
    at = f"/v2/streams/{first['resume_id'].partition('.')[0]}"
    rest = await events(client, "GET", at, headers={"last-event-id": first["resume_id"]})
    assert told([each.json() for each in rest]) == [("1", " b"), ("1", " c")]
    resumed = (("x-resume", first["resume_id"]),)
    assert len(await stream(service.grpc_address, [], metadata=resumed)) == 2
    # And the other way.
    [found] = await stream(service.grpc_address, [text_request("a", resumable=True)])
    place = found.parameters["resume_id"].string_param
    async with websockets.connect(uri, compression=None) as socket:
        await socket.send(json.dumps({"resume": place.partition(".")[0] + ".0"}))
        answer = json.loads(await socket.recv())
        assert answer["parameters"]["resume_id"] == place
        assert answer["outputs"][0]["data"] == ["a"]
        final = {"id": place.partition(".")[0], "final": True}
        assert json.loads(await socket.recv()) == final


@pytest.mark.parametrize("triton", [False, True])
async def test_a_caller_lists_and_cancels_his_streams_over_grpc(service: Service, triton: bool):
    async def about(*metadata: tuple[str, str], ask: Any = ()) -> list[pb.ModelInferResponse]:
        if not triton:
            return await stream(service.grpc_address, ask, metadata=metadata)
        found = await triton_stream(service.triton_address, ask, metadata=metadata)
        assert not any(error for error, _ in found)
        return [response for _, response in found]

    async def status(*metadata: tuple[str, str], ask: Any = ()) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await about(*metadata, ask=ask)
        return caught.value.code()

    request = text_request("a b", request_id="mine", resumable=True)
    place = (await about(ask=[request]))[-1].parameters["resume_id"].string_param
    stream_id = place.partition(".")[0]
    [listed] = [each for each in await about(("x-resume-list", "1")) if each.id == stream_id]
    said = {name: value for name, value in listed.parameters.items()}
    assert (listed.model_name, said["state"].string_param) == ("text-model", "completed")
    assert (said["responses"].int64_param, said["first_response"].int64_param) == (2, 1)
    assert said["bytes"].int64_param > 0
    assert 50 < said["seconds_left"].int64_param <= 60
    assert await about(("x-resume-cancel", place)) == []
    assert stream_id not in [each.id for each in await about(("x-resume-list", "1"))]
    assert await status(("x-resume-cancel", stream_id)) == grpc.StatusCode.NOT_FOUND
    assert await status(("x-resume-cancel", "no id")) == grpc.StatusCode.INVALID_ARGUMENT
    asked = await status(("x-resume-list", "1"), ask=[request])
    assert asked == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("triton", [False, True])
async def test_a_client_that_keeps_its_side_open_is_told_why_it_is_refused(
    service: Service, triton: bool
):
    [found] = await stream(service.grpc_address, [text_request("a", resumable=True)])
    ahead = found.parameters["resume_id"].string_param + "0"
    address = service.triton_address if triton else service.grpc_address
    async with channel(address, None) as connection:
        method = connection.stream_stream(SERVICE + "ModelStreamInfer")
        for asked, code in (
            (("x-resume", ahead), grpc.StatusCode.INVALID_ARGUMENT),
            (("x-resume", ""), grpc.StatusCode.INVALID_ARGUMENT),
            (("x-resume-cancel", "A" * 22), grpc.StatusCode.NOT_FOUND),
        ):
            call = method(metadata=(asked,))
            assert await call.code() == code, await call.details()


async def test_who_cancels_a_stream_over_grpc_ends_its_work(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
):
    asked = probe(steps=3, gate=str(tmp_path / "gate"), resumable=True)
    prefer = {"prefer": "respond-async"}
    begun = await client.post(path("probe", "infer_stream"), json=asked, headers=prefer)
    at = begun.headers["location"]
    cancel = (("x-resume-cancel", begun.json()["id"]),)
    reading = asyncio.create_task(events(client, "GET", at))
    while (await client.get("/v2/streams")).json()[-1]["seconds_left"] is not None:
        pass  # nobody else knows that it is read
    assert await stream(service.grpc_address, [], metadata=cancel) == []
    assert (await reading)[-1].json() == {"error": "This stream was cancelled by its caller."}
    assert (await client.get(at)).status_code == 404


async def test_the_pages_example_lists_streams_and_cancels_those_that_run(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
):
    asked = probe(steps=3, gate=str(tmp_path / "gate"), resumable=True)
    prefer = {"prefer": "respond-async"}
    begun = await client.post(path("probe", "infer_stream"), json=asked, headers=prefer)
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        example.replace("localhost:8081", service.grpc_address),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await program.communicate()
    assert f"{begun.json()['id']} probe running" in said.decode().splitlines()
    assert (await client.get(begun.headers["location"])).status_code == 404
