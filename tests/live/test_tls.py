"""TLS on all ports: who is refused, and certificates that change under running streams."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients import grpc_client, speech_client, sse_client
from clients.errors import ClientError, StreamCutError, TlsError, UnreachableError
from clients.grpc_client import GrpcTextClient
from clients.jpeg_stream import JpegStream
from clients.server_process import ServiceError
from clients.sse_client import SseClient
from clients.tls import Tls
from mlserver_streaming.vision.jpeg import encode
from tests.audio.sounds import silence, wav
from tests.certificates import DAY, Authority
from tests.live.conftest import make_folder
from tests.live.grpc_calls import (
    SERVICE,
    channel,
    infer,
    raw_request,
    set_parameters,
    stream,
    text_request,
    triton_stream,
)
from tests.live.grpc_calls import words as grpc_words
from tests.live.rest_calls import events, open_gate, path, probe, prompt, words
from tests.live.service import Service
from tests.live.tls import PORTS, TlsService
from tests.live.warm import WarmService
from tests.live.watch import closed, wait_until

SCRIPTS = Path(__file__).with_name("scripts")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsService]:
    made = TlsService(tmp_path_factory.mktemp("tls") / "service")
    with made.service:
        yield made


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsService]:
    made = TlsService(tmp_path_factory.mktemp("mutual") / "service", mutual=True)
    with made.service:
        yield made


@pytest.fixture(params=["secure", "mutual"])
def either(request: pytest.FixtureRequest) -> TlsService:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, TlsService)
    return found


async def test_rest_and_metrics(either: TlsService) -> None:
    service = either.service
    async with httpx.AsyncClient(base_url=service.url, verify=service.tls or False) as client:
        answer = await client.post(path("text-model", "infer"), json=prompt("a b"))
        assert answer.json()["outputs"][0]["data"] == ["a", " b"]
        answer = await client.post(path("text-model", "generate_stream"), json=prompt("a b"))
        assert words(events(answer.text)) == ["a", " b"]
        metrics = await client.get(f"https://127.0.0.1:{service.metrics}/metrics")
        assert "rest_server_requests" in metrics.text


async def test_grpc_and_its_triton_dialect(either: TlsService) -> None:
    service, tls = either.service, either.credentials()
    [response] = grpc_words([await infer(service.grpc_address, text_request("a"), tls)])
    assert response == "a"
    assert grpc_words(await stream(service.grpc_address, [text_request("a b")], tls)) == ["a", " b"]
    replies = await triton_stream(service.triton_address, [text_request("a b")], tls)
    assert grpc_words([reply for _, reply in replies]) == ["a", " b"]
    for address in (service.grpc_address, service.triton_address):
        async with channel(address, tls) as connection:
            health: Any = health_pb2_grpc.HealthStub(connection)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_our_clients(either: TlsService) -> None:
    service, tls = either.service, either.tls
    for host in ("127.0.0.1", "localhost"):
        sse = SseClient(host=host, port=service.http, tls=tls)
        assert [word async for word in sse.words("a b", {"delay": 0})] == ["a", " b"]
        async with GrpcTextClient(host=host, port=service.grpc, tls=tls) as client:
            assert [word async for word in client.words("a b", {"delay": 0})] == ["a", " b"]
    async with JpegStream(port=service.grpc, tls=tls) as frames:
        assert (await frames(encode(np.zeros((48, 64, 3), np.uint8)))).startswith(b"\xff\xd8")


@pytest.mark.parametrize("client", [sse_client, grpc_client], ids=["sse_client", "grpc_client"])
def test_our_commands_take_the_files_from_flags_and_environment(
    either: TlsService, client: Any
) -> None:
    port = either.service.http if client is sse_client else either.service.grpc
    command = ["--port", str(port), "--delay", "0", "a b"]
    tls = either.tls
    flags = {"--ca": tls.ca, "--cert": tls.certificate, "--key": tls.key}
    given = [str(part) for flag, file in flags.items() if file for part in (flag, file)]
    done = CliRunner().invoke(client.main, [*command, *given])
    assert (done.stdout, done.stderr) == ("a b\n", "")
    refused = CliRunner().invoke(client.main, [*command, "--tls"])
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"Error: the certificate of 127.0.0.1:{port} is not trusted; pass the CA that signed it "
        "with --ca\n"
    )


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_speech_client(either: TlsService, tmp_path: Path, protocol: str) -> None:
    recording = tmp_path / "silence.wav"
    recording.write_bytes(wav(silence(1)))
    port = either.service.http if protocol == "http" else either.service.grpc
    command = ["--protocol", protocol, "--port", str(port), str(recording)]
    for way in ([], ["--streaming"]):
        done = CliRunner().invoke(speech_client.main, [*command, *way], env=variables(either.tls))
        assert (done.exit_code, done.stderr) == (0, "")
        refused = CliRunner().invoke(speech_client.main, [*command, *way, "--tls"])
        assert refused.exit_code == 1
        assert refused.stderr == (
            f"Error: the certificate of 127.0.0.1:{port} is not trusted; pass the CA that signed "
            "it with --ca\n"
        )


def variables(tls: Tls) -> dict[str, str]:
    """What stands for --ca, --cert and --key in the environment."""
    files = {"CLIENT_CA": tls.ca, "CLIENT_CERT": tls.certificate, "CLIENT_KEY": tls.key}
    return {name: str(file) for name, file in files.items() if file}


def test_tritonclient(secure: TlsService) -> None:
    service = secure.service
    command = [
        *(sys.executable, str(SCRIPTS / "triton_tls.py")),
        *(f"localhost:{service.triton}", f"localhost:{service.http}", str(secure.ca)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"ready": True, "words": ["a", " b"], "http": ["a", " b"]}


@pytest.mark.parametrize("port", PORTS)
def test_tls_1_1_is_refused(secure: TlsService, port: str) -> None:
    context = secure.tls.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), secure.connected(port, context):
        pass
    context = secure.tls.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with secure.connected(port, context) as connection:
        assert connection.version() == "TLSv1.2"


@pytest.mark.parametrize("port", PORTS)
def test_without_the_client_certificate_there_is_no_answer(mutual: TlsService, port: str) -> None:
    stranger = Authority().client()
    outsider = Tls(mutual.ca, *stranger.write(mutual.folder, "outsider"))
    for tls in (Tls(mutual.ca), outsider):
        # TLS 1.3 ends the client's half of the handshake before the server has looked.
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            mutual.connected(port, tls.context()) as c,
        ):
            c.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            if c.recv(1) == b"":
                raise ConnectionResetError


async def fault(client: SseClient | GrpcTextClient) -> ClientError:
    """Why the client got no word."""
    with pytest.raises(ClientError) as error:
        if isinstance(client, GrpcTextClient):
            async with client:
                await anext(client.words("x"))
        else:
            await anext(client.words("x"))
    assert "\n" not in str(error.value)
    return error.value


async def test_our_clients_say_what_is_wrong(
    secure: TlsService, mutual: TlsService, service: Service
) -> None:
    def clients(where: Service, tls: Tls | None) -> list[SseClient | GrpcTextClient]:
        return [
            SseClient(port=where.http, tls=tls),
            GrpcTextClient(port=where.grpc, tls=tls),
        ]

    for client in clients(secure.service, None):
        error = await fault(client)
        assert isinstance(error, StreamCutError | UnreachableError)
        assert "if it speaks TLS, pass --tls" in str(error)
    for client in clients(service, secure.tls):
        error = await fault(client)
        assert isinstance(error, TlsError)
        assert "does not speak TLS; leave --tls out" in str(error)
    for client in clients(mutual.service, Tls(mutual.ca)):
        assert "pass --cert and --key" in str(await fault(client))
    for client in clients(secure.service, Tls(mutual.ca)):
        assert "is not trusted" in str(await fault(client))


async def test_a_certificate_for_another_host(secure: TlsService) -> None:
    issued = secure.serve(secure.authority.server("else.example"))
    await wait_until(lambda: secure.shown() == {issued.serial})
    service = secure.service
    for client in (
        SseClient(port=service.http, tls=secure.tls),
        GrpcTextClient(port=service.grpc, tls=secure.tls),
    ):
        assert "for another host" in str(await fault(client))
    await secure.renew()


async def test_running_streams_outlive_their_certificate(
    secure: TlsService, tmp_path: Path
) -> None:
    service, gate = secure.service, tmp_path / "gate"
    behaviour = {"steps": 2, "gate": str(gate)}
    request = set_parameters(raw_request("probe", "x", [b"x"]), **behaviour)
    async with (
        httpx.AsyncClient(base_url=service.url, verify=service.tls or False) as client,
        client.stream("POST", path("probe", "infer_stream"), json=probe(**behaviour)) as answer,
        channel(service.grpc_address, secure.credentials()) as connection,
    ):
        lines = answer.aiter_lines()
        got = [await anext(lines)]
        call: Any = connection.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(request.SerializeToString())
        await call.done_writing()
        await call.read()
        [old] = secure.shown()
        new = await secure.renew()
        assert new.serial != old
        # Both streams wait at the gate, on connections made with the old certificate.
        open_gate(gate, 1)
        got += [line async for line in lines]
        assert words(events("\n".join(got) + "\n")) == ["0", "1"]
        await call.read()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        # The same connections take new calls.
        assert (await client.get("/v2/health/live")).status_code == 200
        method: Any = connection.unary_unary(SERVICE + "ServerLive")
        assert await method(b"") == b"\x08\x01"


async def test_garbage_leaves_the_old_certificate_in_use(secure: TlsService) -> None:
    [old] = secure.shown()
    said = secure.service.log.read_text().count("stay in use")
    secure.spoil()

    def told() -> bool:
        assert secure.shown() == {old}
        return secure.service.log.read_text().count("stay in use") > said

    await wait_until(told)
    assert secure.shown() == {old}
    # One line for four ports.
    assert secure.service.log.read_text().count("stay in use") == said + 1
    await secure.renew()


async def test_an_expired_certificate(secure: TlsService) -> None:
    issued = secure.serve(secure.authority.server(left=-DAY))
    await wait_until(lambda: secure.shown() == {issued.serial})
    assert secure.service.log.read_text().count("expired on") == 1
    service = secure.service
    for client in (
        SseClient(port=service.http, tls=secure.tls),
        GrpcTextClient(port=service.grpc, tls=secure.tls),
    ):
        assert "has expired" in str(await fault(client))
    await secure.renew()
    sse = SseClient(port=service.http, tls=secure.tls)
    assert [word async for word in sse.words("x")] == ["x"]


async def test_a_hang_up_stops_the_model(secure: TlsService, tmp_path: Path) -> None:
    notes, service = tmp_path / "notes", secure.service
    body = probe(steps=1000, seconds=0.01, path=str(notes))
    async with (
        httpx.AsyncClient(base_url=service.url, verify=service.tls or False) as client,
        client.stream("POST", path("probe", "infer_stream"), json=body) as answer,
        aclosing(answer.aiter_lines()) as lines,
    ):
        await anext(lines)
    await wait_until(lambda: closed(notes))


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ({"certificate": "no.pem", "key": "no.key"}, '"streaming.tls.certificate": '),
        ({"certificate": "settings.json", "key": "no.key"}, '"streaming.tls.key": '),
        ({"certificate": "no.pem"}, "certificate and key go together"),
    ],
)
def test_bad_files_stop_the_start(tmp_path: Path, tls: dict[str, str], said: str) -> None:
    folder = make_folder(tmp_path / "bad", streaming={"tls": tls})
    with pytest.raises(ServiceError, match="with status 1") as error:
        WarmService(folder, folder / "server.log").start()
    # One line of complaint.
    lines = [line for line in error.value.log_lines if " INFO - " not in line]
    assert len(lines) == 1, lines
    assert said in lines[0]
