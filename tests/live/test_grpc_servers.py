"""Both of gRPC's servers (`grpc.server`): what clients see, with TLS both ways.

All tests of gRPC run with ours; they can be run with grpcio's, too: TEST_GRPC_SERVER=grpcio
(docs/operations.md).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from tests.live.grpc_calls import (
    SERVICE,
    channel,
    infer,
    raw_request,
    stream,
    text_request,
    triton_stream,
    words,
)
from tests.live.tls import TlsService
from tests.live.vitals import MIB
from tests.live.watch import PATIENCE, closed, steps, wait_until

IDLE_SECONDS = 1.5


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsService]:
    streaming = {
        "grpc": {"server": request.param},
        "limits": {"stream_idle_seconds": IDLE_SECONDS},
    }
    folder = tmp_path_factory.mktemp(request.param) / "service"
    made = TlsService(folder, mutual=True, streaming=streaming)
    with made.service:
        yield made


async def test_words_and_a_unary_call(made: TlsService) -> None:
    service, tls = made.service, made.credentials()
    assert words(await stream(service.grpc_address, [text_request("a b")], tls)) == ["a", " b"]
    found = await triton_stream(service.triton_address, [text_request("a b")], tls)
    assert words([reply for _, reply in found]) == ["a", " b"]
    reply = await infer(service.grpc_address, text_request("a b c", request_id="7"), tls)
    assert (reply.id, list(reply.outputs[0].shape)) == ("7", [3])


async def test_a_client_without_a_certificate(made: TlsService) -> None:
    stranger = grpc.ssl_channel_credentials(made.authority.pem)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(made.service.grpc_address, text_request("a"), stranger, timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_large_messages(made: TlsService) -> None:
    service, tls = made.service, made.credentials()
    text = "x" * (8 * MIB)
    request = raw_request("stock-text", "prompt", [text.encode()])
    reply = await infer(service.grpc_address, request, tls)
    assert len(reply.raw_output_contents[0]) == 4 + len(text)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(service.grpc_address, bytes(65 * MIB), tls)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("ending", ["cancel", "deadline"])
async def test_a_client_that_goes_away_stops_the_model(
    made: TlsService, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / "did"
    request = text_request("x", model="probe", steps=1000, seconds=0.01, path=str(path))
    async with channel(made.service.grpc_address, made.credentials()) as connection:
        method = connection.stream_stream(SERVICE + "ModelStreamInfer")
        call = method(timeout=0.3 if ending == "deadline" else None)
        await call.write(request.SerializeToString())
        await call.read()
        if ending == "cancel":
            call.cancel()
        else:
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await wait_until(lambda: closed(path))


async def test_a_reader_that_does_not_read(made: TlsService, tmp_path: Path) -> None:
    service, tls, path = made.service, made.credentials(), tmp_path / "did"
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", MIB)]
    options.append(("grpc.use_local_subchannel_pool", 1))
    request = text_request("x", model="probe", steps=10**9, size=65536, path=str(path))
    async with grpc.aio.secure_channel(service.grpc_address, tls, options=options) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")(timeout=PATIENCE)
        await call.write(request.SerializeToString())
        await wait_until(lambda: steps(path) > 5)
        # Others on its connection, while it does not read.
        for _ in range(5):
            unary = connection.unary_unary(SERVICE + "ModelInfer")
            reply = await unary(text_request("a").SerializeToString())
            assert words([pb.ModelInferResponse.FromString(reply)]) == ["a"]
        await wait_until(lambda: closed(path))
        # Its windows and what waits for it: no more was made.
        assert steps(path) * 65536 < 4 * MIB
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_certificate_that_changes_under_a_stream(made: TlsService) -> None:
    service = made.service
    async with channel(service.grpc_address, made.credentials()) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(text_request("a").SerializeToString())
        await call.read()
        await made.renew()
        await call.write(text_request("b").SerializeToString())
        assert words([pb.ModelInferResponse.FromString(await call.read())]) == ["b"]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_the_last_call_before_the_end(made: TlsService, tmp_path: Path) -> None:
    """A drain; so it is the file's last."""
    service, tls, path = made.service, made.credentials(), tmp_path / "did"
    asked = text_request("x", model="probe", steps=60, seconds=0.02, path=str(path))
    running = asyncio.create_task(stream(service.grpc_address, [asked], tls))
    await wait_until(lambda: steps(path) >= 2)
    service.process.send_signal(signal.SIGTERM)
    assert len(await running) == 60
    assert await asyncio.to_thread(service.process.wait, 30) == 0
    assert "Traceback" not in service.log.read_text()
