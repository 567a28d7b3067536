"""What a gRPC client sees of streams that go well, of several models on one, and of hang-ups."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc import dataplane_pb2_grpc as rpc

from tests.live.grpc_calls import (
    SERVICE,
    channel,
    error_of,
    infer,
    jpeg_request,
    raw_request,
    stream,
    text_request,
    triton_stream,
    words,
)
from tests.live.service import Service
from tests.live.watch import closed, steps, wait_until


def jpeg(shade: int = 128, size: tuple[int, int] = (24, 32)) -> bytes:
    return cv2.imencode(".jpg", np.full((*size, 3), shade, np.uint8))[1].tobytes()


def image(response: pb.ModelInferResponse) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(response.raw_output_contents[0][4:], np.uint8), 1)


async def test_words_come_with_their_request_s_id(service: Service):
    responses = await stream(
        service.grpc_address,
        [text_request("What is  this?", request_id="1"), text_request("é\n", request_id="2")],
    )
    assert [
        (response.id, word) for response, word in zip(responses, words(responses), strict=True)
    ] == [
        ("1", "What"),
        ("1", " is"),
        ("1", " "),
        ("1", " this?"),
        ("2", "é\n"),
    ]


async def test_typed_contents_are_answered_in_typed_contents(service: Service):
    request = pb.ModelInferRequest(model_name="text-model")
    tensor = request.inputs.add(name="prompt", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(b"a b")
    request.parameters["delay"].string_param = "0"
    responses = await stream(service.grpc_address, [request])
    assert [list(r.outputs[0].contents.bytes_contents) for r in responses] == [[b"a"], [b" b"]]
    assert not any(response.raw_output_contents for response in responses)


async def test_a_unary_call_gets_all_words_of_a_stream_only_model(service: Service):
    response = await infer(service.grpc_address, text_request("a b c", request_id="7"))
    assert response.id == "7"
    assert list(response.outputs[0].shape) == [3]


async def test_a_unary_only_model_answers_each_request_of_a_stream(service: Service):
    x = np.arange(6, dtype="<f4").reshape(2, 3)
    requests = []
    for index in range(3):
        request = pb.ModelInferRequest(model_name="tensor-sum", id=str(index))
        request.inputs.add(name="x", datatype="FP32", shape=[2, 3])
        request.raw_input_contents.append((x + index).tobytes())
        requests.append(request)
    responses = await stream(service.grpc_address, requests)
    assert [response.id for response in responses] == ["0", "1", "2"]
    sums = [np.frombuffer(response.raw_output_contents[0], "<f4")[0] for response in responses]
    assert sums == [15, 21, 27]


async def test_frames_leave_in_the_order_they_came(service: Service):
    shades = list(range(0, 250, 5))
    requests = [jpeg_request(jpeg(shade), request_id=str(shade)) for shade in shades]
    responses = await stream(service.grpc_address, requests)
    assert [response.id for response in responses] == [str(shade) for shade in shades]
    seen = [int(image(response).mean()) for response in responses]
    assert all(abs(a - b) <= 2 for a, b in zip(seen, shades, strict=True))


async def test_a_request_of_many_frames_gets_a_response_for_each(service: Service):
    responses = await stream(service.grpc_address, [jpeg_request(jpeg(10), b"bad", jpeg(200))])
    assert [r.parameters["frame_index"].int64_param for r in responses] == [0, 1, 2]
    assert [error_of(response) is not None for response in responses] == [False, True, False]
    whole = await infer(service.grpc_address, jpeg_request(jpeg(10), jpeg(200)))
    assert list(whole.outputs[0].shape) == [2]


async def test_lockstep_frames(service: Service):
    async with channel(service.grpc_address) as connection:
        call = rpc.GRPCInferenceServiceStub(connection).ModelStreamInfer()
        for shade in (10, 100, 200):
            await call.write(jpeg_request(jpeg(shade)))
            assert abs(image(await call.read()).mean() - shade) <= 2
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_several_models_on_one_stream_each_at_its_own_pace(service: Service):
    slow = text_request("s s", model="probe", request_id="slow", steps=3, seconds=0.2)
    fast = text_request("a b", request_id="fast")
    failing = text_request("x", model="probe", request_id="late", steps=2, fail_at=0)
    responses = await stream(service.grpc_address, [slow, fast, failing])
    ids = [response.id for response in responses]
    assert ids[:2] == ["fast", "fast"]
    assert ids.count("slow") == 3
    failures = {response.id: error_of(response) for response in responses if error_of(response)}
    assert failures["late"] is not None and failures["late"][0] == 500


async def test_a_model_written_for_stock_mlserver_works_unmodified(service: Service):
    request = raw_request("stock-text", "prompt", [b"one two three"], "42")
    responses = await stream(service.grpc_address, [request])
    assert words(responses) == ["one", " two", " three"]
    assert {response.id for response in responses} == {"42"}


async def test_parameters_of_every_kind_reach_the_model(service: Service):
    # `delay` as a double (Triton's kind), as text and as an integer.
    for delay in (0.0, "0.0", 0):
        assert words(await stream(service.grpc_address, [text_request("x", delay=delay)])) == ["x"]


@pytest.mark.parametrize("dialect", ["mlserver", "triton"])
@pytest.mark.parametrize("ending", ["cancel", "deadline", "disconnect"])
async def test_a_client_that_goes_away_stops_the_model(
    service: Service, tmp_path: Path, dialect: str, ending: str
):
    path = tmp_path / "did"
    request = text_request(
        "x", model="probe", steps=1000, seconds=0.01, path=str(path)
    ).SerializeToString()
    address = service.grpc_address if dialect == "mlserver" else service.triton_address

    async def one() -> AsyncIterator[bytes]:
        yield request

    async with channel(address) as connection:
        timeout = 0.5 if ending == "deadline" else None
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")(one(), timeout=timeout)
        await call.read()
        if ending == "cancel":
            call.cancel()
        elif ending == "deadline":
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                while True:
                    assert await call.read() is not grpc.aio.EOF
    await wait_until(lambda: closed(path))
    assert steps(path) < 200


async def test_a_unary_call_that_is_cancelled_stops_the_model(service: Service, tmp_path: Path):
    path = tmp_path / "did"
    request = text_request("x", model="probe", steps=1000, seconds=0.01, path=str(path))
    async with channel(service.grpc_address) as connection:
        call = connection.unary_unary(SERVICE + "ModelInfer")(request.SerializeToString())
        await wait_until(lambda: steps(path) > 0)
        call.cancel()
    await wait_until(lambda: closed(path))
    assert steps(path) < 1000


async def test_the_triton_dialect_says_which_response_is_the_last(service: Service):
    requests = [text_request("a b c", request_id="1"), text_request("d", request_id="2")]
    replies = await triton_stream(service.triton_address, requests)
    finals = {
        request_id: [
            response.parameters["triton_final_response"].bool_param
            for _, response in replies
            if response.id == request_id
        ]
        for request_id in ("1", "2")
    }
    assert finals == {"1": [False, False, True], "2": [True]}


async def test_an_empty_final_response_where_the_model_ends_by_flag_only(service: Service):
    # The stock model sleeps between its last word and its end: nobody can know that it was last.
    request = raw_request(
        "slow-end", "prompt", [b"x"], "1", triton_enable_empty_final_response=True
    )
    [(_, word), (_, end)] = await triton_stream(service.triton_address, [request])
    assert not word.parameters["triton_final_response"].bool_param
    assert end.parameters["triton_final_response"].bool_param
    assert not end.outputs
    assert end.id == "1"


async def test_health_is_served_on_both_ports(service: Service):
    for address in (service.grpc_address, service.triton_address):
        async with channel(address) as connection:
            stub = health_pb2_grpc.HealthStub(connection)
            for name in ("", "inference.GRPCInferenceService"):
                reply = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_names_the_services(service: Service):
    with grpc.insecure_channel(service.grpc_address) as connection:
        database = ProtoReflectionDescriptorDatabase(connection)
        assert "inference.GRPCInferenceService" in database.get_services()
        file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
        assert "ModelStreamInfer" in {m.name for s in file.service for m in s.method}


async def test_metadata_lists_the_sequence_extensions(service: Service):
    async with channel(service.grpc_address) as connection:
        reply = await rpc.GRPCInferenceServiceStub(connection).ServerMetadata(
            pb.ServerMetadataRequest()
        )
        assert {"sequence", "sequence(string_id)"} <= set(reply.extensions)


async def test_calls_about_models_answer_errors_too(service: Service):
    async with channel(service.grpc_address) as connection:
        stub = rpc.GRPCInferenceServiceStub(connection)
        for call, request in (
            (stub.ModelReady, pb.ModelReadyRequest(name="nope")),
            (stub.ModelMetadata, pb.ModelMetadataRequest(name="nope")),
            (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="nope")),
            (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="nope")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_only_models_below_model_settings_are_loaded(service: Service):
    async with channel(service.grpc_address) as connection:
        reply = await rpc.GRPCInferenceServiceStub(connection).RepositoryIndex(
            pb.RepositoryIndexRequest()
        )
    assert "outside" not in {model.name for model in reply.models}


async def test_base64_stays_base64(service: Service):
    sent = base64.b64encode(jpeg(50))
    [response] = await stream(service.grpc_address, [jpeg_request(sent)])
    assert base64.b64decode(response.raw_output_contents[0][4:], validate=True)[:2] == b"\xff\xd8"
