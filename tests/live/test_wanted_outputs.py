"""`outputs` of a request to a plain model, over every wire."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.live.grpc_calls import error_of, infer, raw_request, stream, triton_stream
from tests.live.rest_calls import events, path, probe
from tests.live.service import Service

MODEL = "three-outputs"
BINARY = {"binary_data": True}
REFUSAL = "Model 'three-outputs' gave no output 'zzz'; it gave 'a', 'b', 'c'."


def wanting(*names: str, **wanted: Any) -> dict[str, Any]:
    return {**probe(), "outputs": [{"name": name, **wanted} for name in names]}


def over_grpc(*names: str, request_id: str = "") -> Any:
    request = raw_request(MODEL, "x", [b"x"], request_id)
    for name in names:
        request.outputs.add(name=name)
    return request


async def test_over_rest(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url) as client:
        got = (await client.post(path(MODEL, "infer"), json=wanting("c", "a"))).json()
        assert [(each["name"], each["data"]) for each in got["outputs"]] == [("c", [3]), ("a", [1])]
        binary = await client.post(path(MODEL, "infer"), json=wanting("b", parameters=BINARY))
        length = int(binary.headers["Inference-Header-Content-Length"])
        assert np.frombuffer(binary.content[length:], np.int32).tolist() == [2]
        streamed = await client.post(path(MODEL, "infer_stream"), json=wanting("b"))
        (event,) = events(streamed.text)
        assert [each["name"] for each in event["outputs"]] == ["b"]
        for call in ("infer", "infer_stream"):
            refused = await client.post(path(MODEL, call), json=wanting("a", "zzz"))
            assert (refused.status_code, refused.json()) == (400, {"error": REFUSAL})


@pytest.mark.parametrize("port", ["grpc_address", "triton_address"])
async def test_over_unary_grpc(service: Service, port: str) -> None:
    reply = await infer(getattr(service, port), over_grpc("c", "a"))
    assert [each.name for each in reply.outputs] == ["c", "a"]
    assert reply.raw_output_contents == [b"\3\0\0\0", b"\1\0\0\0"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(getattr(service, port), over_grpc("zzz"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == REFUSAL


async def test_over_streamed_grpc(service: Service) -> None:
    asked = [over_grpc("b", request_id="1"), over_grpc("zzz", request_id="2"), over_grpc()]
    first, second, third = await stream(service.grpc_address, asked)
    assert [each.name for each in first.outputs] == ["b"]
    assert (second.id, error_of(second)) == ("2", (400, REFUSAL))
    assert [each.name for each in third.outputs] == ["a", "b", "c"]


async def test_over_triton_s_stream(service: Service) -> None:
    asked = [over_grpc("b", request_id="1"), over_grpc("zzz", request_id="2")]
    replies = await triton_stream(service.triton_address, asked)
    found = {reply.id: (said, [each.name for each in reply.outputs]) for said, reply in replies}
    assert found == {"1": ("", ["b"]), "2": (REFUSAL, [])}


async def test_one_of_several_that_wants_no_number_of_classes_fails_alone(
    service: Service,
) -> None:
    wrong = over_grpc("a", request_id="2")
    wrong.outputs[0].parameters["classification"].int64_param = 0
    asked = [over_grpc("b", request_id="1"), wrong, over_grpc("c", request_id="3")]
    replies = {each.id: each for each in await stream(service.grpc_address, asked)}
    assert [each.name for id in "13" for each in replies[id].outputs] == ["b", "c"]
    status, text = error_of(replies["2"]) or (0, "")
    assert (status, "must be a number of classes" in text) == (400, True)
    errors = {
        response.id: error for error, response in await triton_stream(service.triton_address, asked)
    }
    assert {id for id, error in errors.items() if error} == {"2"}
    assert "must be a number of classes" in errors["2"]
