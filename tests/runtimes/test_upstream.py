"""UpstreamModel in front of servers that answer what a test wants, in either dialect."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mlserver.errors import MLServerError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse

from runtimes.upstream.channel import UpstreamAddress, UpstreamSettingsError
from runtimes.upstream.model import UpstreamModel
from runtimes.upstream.stream import TRIES
from tests.lost_writes import Lost
from tests.runtimes.asking import answers, ask, error_of
from tests.runtimes.test_upstream_wire import triton

SERVICE = "inference.GRPCInferenceService"
Handler = Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]


class Upstream:
    """A gRPC server of raw messages on a free port."""

    def __init__(self, stream: Handler, unary: Callable[[bytes, Any], Awaitable[bytes]]):
        methods = {
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(stream),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(unary),
        }
        self._handlers = grpc.method_handlers_generic_handler(SERVICE, methods)
        self.port = 0

    async def start(self) -> "Upstream":
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((self._handlers,))
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()
        return self

    async def stop(self) -> None:
        await self.server.stop(None)


def doubled(message: bytes) -> pb.ModelInferResponse:
    request = pb.ModelInferRequest.FromString(message)
    data = np.frombuffer(request.raw_input_contents[0], np.float32) * 2
    return pb.ModelInferResponse(
        model_name=request.model_name,
        id=request.id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[len(data)])
        ],
        raw_output_contents=[data.tobytes()],
    )


async def unary(message: bytes, context: Any) -> bytes:
    return doubled(message).SerializeToString()


async def plain_stream(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for message in messages:
        yield doubled(message).SerializeToString()


async def triton_stream(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for message in messages:
        reply = doubled(message)
        if reply.id == "bad":
            yield triton("that is bad", pb.ModelInferResponse(model_name="there", id="bad"))
        else:
            yield triton(reply=reply)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Upstream]]]:
    running = []

    async def start(stream: Handler = plain_stream, single: Any = unary) -> Upstream:
        running.append(await Upstream(stream, single).start())
        return running[-1]

    yield start
    for each in running:
        await each.stop()


@pytest.fixture
async def behind() -> AsyncIterator[Callable[..., Awaitable[UpstreamModel]]]:
    models = []

    async def load(uri: str | int, **extra: Any) -> UpstreamModel:
        uri = f"grpc://127.0.0.1:{uri}" if isinstance(uri, int) else uri
        model = UpstreamModel(
            ModelSettings(
                name="here",
                implementation="runtimes.upstream.UpstreamModel",
                parameters=ModelParameters(uri=uri, extra={"model": "there", **extra}),
            )
        )
        await model.load()
        models.append(model)
        return model

    yield load
    for model in models:
        await model.unload()


def numbers(*values: float, **more: Any) -> InferenceRequest:
    return ask("x", list(values), datatype="FP32", **more)


def given(response: InferenceResponse) -> list[float]:
    (output,) = response.outputs
    return output.data.root.tolist()


@pytest.mark.parametrize("stream", [plain_stream, triton_stream])
@pytest.mark.parametrize("explicit", [False, True])
async def test_requests_go_through_in_either_dialect(
    serve: Any, behind: Any, stream: Handler, explicit: bool
) -> None:
    upstream = await serve(stream)
    dialect = "triton" if stream is triton_stream else "mlserver"
    model = await behind(upstream.port, **({"dialect": dialect} if explicit else {}))
    responses = await answers(model, *(numbers(n, n + 1, id=str(n)) for n in range(20)))
    assert [(r.model_name, r.id, given(r)) for r in responses] == [
        ("here", str(n), [2 * n, 2 * n + 2]) for n in range(20)
    ]
    one = await model.predict(numbers(4, id="u"))
    assert (one.id, given(one)) == ("u", [8])


async def test_zero_requests(serve: Any, behind: Any) -> None:
    model = await behind((await serve()).port)
    assert await answers(model) == []


async def test_a_tensor_of_the_wrong_size_is_not_sent_on(serve: Any, behind: Any) -> None:
    model = await behind((await serve()).port)
    bad, good = await answers(model, numbers(1, shape=[5], id="a"), numbers(1, id="b"))
    if bad.id == "b":
        bad, good = good, bad
    assert "so 20 bytes, but its data has 4" in error_of(bad)[1]
    assert given(good) == [2]


async def test_an_error_of_triton_is_its_requests_own(serve: Any, behind: Any) -> None:
    model = await behind((await serve(triton_stream)).port)
    first, second = await answers(model, numbers(1, id="bad"), numbers(2, id="good"))
    assert (first.id, error_of(first)) == ("bad", (502, "that is bad"))
    assert given(second) == [4]


@pytest.mark.parametrize(
    ("stream", "dialect", "text"),
    [
        (triton_stream, "mlserver", "speaks the triton dialect, the settings say mlserver"),
        (plain_stream, "triton", "speaks the mlserver dialect, the settings say triton"),
    ],
)
async def test_the_wrong_dialect_is_told(
    serve: Any, behind: Any, stream: Handler, dialect: str, text: str
) -> None:
    model = await behind((await serve(stream)).port, dialect=dialect)
    (response,) = await answers(model, numbers(1))
    code, said = error_of(response)
    assert code == 502 and text in said


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (grpc.StatusCode.NOT_FOUND, 404, "answered NOT_FOUND: no model there"),
        (grpc.StatusCode.INVALID_ARGUMENT, 400, "answered INVALID_ARGUMENT: no model there"),
        (grpc.StatusCode.UNAUTHENTICATED, 502, "refuses this service's key: no model there"),
        (grpc.StatusCode.INTERNAL, 502, "answered INTERNAL: no model there"),
        (grpc.StatusCode.CANCELLED, 502, "answered CANCELLED: no model there"),
    ],
)
async def test_what_the_upstream_refuses(
    serve: Any, behind: Any, status: grpc.StatusCode, code: int, text: str
) -> None:
    async def refuse(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await anext(messages)
        await context.abort(status, "no model there")
        yield b""

    async def refuse_one(message: bytes, context: Any) -> bytes:
        await context.abort(status, "no model there")
        return b""

    model = await behind((await serve(refuse, refuse_one)).port)
    (response,) = await answers(model, numbers(1))
    assert error_of(response)[0] == code and text in error_of(response)[1]
    if status is not grpc.StatusCode.CANCELLED:
        with pytest.raises(MLServerError, match="no model there") as raised:
            await model.predict(numbers(1))
        assert raised.value.status_code == code


@pytest.mark.parametrize("times", [1, 2])
async def test_an_upstream_that_refuses_before_it_reads(
    serve: Any, behind: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """grpc.aio loses the reason where the first write is under way then."""

    async def refuse(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no model there")
        yield b""

    Lost(monkeypatch).times = times
    model = await behind(port := (await serve(refuse)).port)
    (response,) = await answers(model, numbers(1))
    assert error_of(response) == (
        404,
        f"The upstream at 127.0.0.1:{port} answered NOT_FOUND: no model there",
    )


@pytest.mark.parametrize("times", [1, TRIES])
async def test_a_request_that_did_not_reach_the_upstream(
    serve: Any, behind: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    lost = Lost(monkeypatch)
    lost.times = times
    monkeypatch.setattr("runtimes.upstream.stream.LISTEN_S", 0.001)
    calls = 0

    async def refuse_some(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        nonlocal calls
        calls += 1
        if calls <= times:
            await asyncio.to_thread(lost.ended.acquire, timeout=10)
            await context.abort(grpc.StatusCode.NOT_FOUND, "nobody hears this")
        async for message in messages:
            yield doubled(message).SerializeToString()

    model = await behind(port := (await serve(refuse_some)).port)
    first, second = await answers(model, numbers(1, id="first"), numbers(2, id="second"))
    if times < TRIES:
        assert given(first) == [2]
    else:
        assert error_of(first) == (
            502,
            f"The upstream at 127.0.0.1:{port} ended the stream, and gRPC lost its reason.",
        )
    assert given(second) == [4]


async def test_nobody_there(behind: Any) -> None:
    upstream = await Upstream(plain_stream, unary).start()
    await upstream.stop()
    model = await behind(upstream.port)
    (response,) = await answers(model, numbers(1))
    assert error_of(response)[0] == 503
    assert error_of(response)[1].startswith(
        f"The upstream at 127.0.0.1:{upstream.port} cannot be reached: "
    )
    with pytest.raises(MLServerError) as raised:
        await model.predict(numbers(1))
    assert raised.value.status_code == 503
    assert (await model.metadata()).name == "here"


async def test_an_upstream_that_is_silent(serve: Any, behind: Any) -> None:
    async def silent(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            if pb.ModelInferRequest.FromString(message).id == "heard":
                yield doubled(message).SerializeToString()
        await asyncio.Event().wait()

    async def never(message: bytes, context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    model = await behind((await serve(silent, never)).port)
    first, second = await answers(
        model, numbers(1, id="lost", timeout=200_000), numbers(2, id="heard")
    )
    if first.id == "lost":
        first, second = second, first
    assert given(first) == [4]
    code, said = error_of(second)
    assert code == 504 and said.endswith("did not answer within 0.2 s.")
    with pytest.raises(MLServerError, match="did not answer in time") as raised:
        await model.predict(numbers(1, timeout=100_000))
    assert raised.value.status_code == 504


async def test_a_stream_outlives_its_upstream(serve: Any, behind: Any) -> None:
    """It dies under a request, stays away for another, and comes back on the same port."""
    stopped, answered = asyncio.Event(), asyncio.Queue[InferenceResponse]()

    async def dying(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            if pb.ModelInferRequest.FromString(message).id == "last":
                stopped.set()
                await asyncio.Event().wait()
            yield doubled(message).SerializeToString()

    upstream = await serve(dying)
    model = await behind(upstream.port)

    async def requests() -> AsyncIterator[InferenceRequest]:
        yield numbers(1, id="first")
        yield numbers(1, id="last")
        await stopped.wait()
        await upstream.stop()
        while (await answered.get()).id != "last":
            pass
        yield numbers(1, id="away")
        while (await answered.get()).id != "away":
            pass
        await upstream.start()
        for attempt in range(100):
            yield numbers(1, id=f"again {attempt}")
            if (await answered.get()).outputs:
                return
            await asyncio.sleep(0.05)

    found = {}
    async for response in model.predict_stream(requests()):
        found[response.id] = response
        answered.put_nowait(response)
    assert given(found["first"]) == [2]
    assert error_of(found["last"])[0] in (502, 503)
    assert error_of(found["away"])[0] == 503
    assert given(list(found.values())[-1]) == [2]


async def test_hanging_up_reaches_the_upstream(serve: Any, behind: Any) -> None:
    ended = asyncio.Event()

    async def watched(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            async for message in plain_stream(messages, context):
                yield message
        finally:
            ended.set()

    async def forever() -> AsyncIterator[InferenceRequest]:
        yield numbers(1)
        await asyncio.Event().wait()

    model = await behind((await serve(watched)).port)
    stream = model.predict_stream(forever())
    assert given(await anext(stream)) == [2]
    await stream.aclose()
    async with asyncio.timeout(10):
        await ended.wait()


async def test_several_replies_to_a_request(serve: Any, behind: Any) -> None:
    async def thrice(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            for _ in range(3):
                yield triton(reply=doubled(message))

    model = await behind((await serve(thrice)).port)
    responses = await answers(model, numbers(1, id="a"), numbers(2, id="b"))
    assert [(r.id, given(r)) for r in responses] == [("a", [2])] * 3 + [("b", [4])] * 3


async def test_keys_and_parameters_go_along(
    serve: Any, behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    async def look(message: bytes, context: Any) -> bytes:
        seen.update(context.invocation_metadata())
        seen["request"] = pb.ModelInferRequest.FromString(message)
        return await unary(message, context)

    monkeypatch.setenv("UPSTREAM_KEY", "sesame")
    model = await behind(
        (await serve(single=look)).port, headers={"X-API-Key": "${UPSTREAM_KEY}"}, model_version="2"
    )
    await model.predict(numbers(1, confidence="0.4", timeout=5_000_000))
    assert seen["x-api-key"] == "sesame"
    assert seen["request"].model_version == "2"
    assert set(seen["request"].parameters) == {"confidence"}
    assert "sesame" not in repr(model._channel.address)


@pytest.mark.parametrize(
    ("uri", "extra", "text"),
    [
        ("http://there:8000", {}, "must be grpc://host:port"),
        ("", {}, "must be grpc://host:port"),
        ("grpc://there:1", {"dialect": "klingon"}, "dialect must be one of auto, mlserver, triton"),
        (
            "grpc://there:1",
            {"headers": {"a": "${NO_SUCH_VARIABLE}"}},
            "NO_SUCH_VARIABLE is not set",
        ),
        ("grpc://there:1", {"headers": "a"}, "headers must be an object"),
        (
            "grpcs://there:1",
            {"root_certificates": "none.pem"},
            "root_certificates: there is no file",
        ),
    ],
)
async def test_settings_that_make_no_sense(behind: Any, uri: str, extra: dict, text: str) -> None:
    with pytest.raises(UpstreamSettingsError, match=text.replace("$", r"\$")):
        await behind(uri, **extra)


def test_certificates_need_tls_and_go_together(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("")

    def read(uri: str, **settings: str) -> UpstreamAddress:
        return UpstreamAddress.read(
            uri, lambda name, default: settings.get(name, default), tmp_path
        )

    assert read("grpcs://there:1", root_certificates="a.pem").tls
    with pytest.raises(UpstreamSettingsError, match="grpcs://"):
        read("grpc://there:1", root_certificates="a.pem")
    with pytest.raises(UpstreamSettingsError, match="go together"):
        read("grpcs://there:1", private_key="a.pem")


@pytest.fixture
def key_pair(tmp_path: Path) -> tuple[Path, Path]:
    """A key, and a certificate for `upstream.test` that it has signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not here")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=upstream.test", "-keyout", str(key)),
            *("-addext", "subjectAltName=DNS:upstream.test", "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return key, certificate


async def test_tls(behind: Any, key_pair: tuple[Path, Path]) -> None:
    key, certificate = key_pair
    server = grpc.aio.server()
    methods = {"ModelInfer": grpc.unary_unary_rpc_method_handler(unary)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        uri, name = f"grpcs://127.0.0.1:{port}", {"server_name": "upstream.test"}
        trusting = await behind(uri, root_certificates=str(certificate), **name)
        assert given(await trusting.predict(numbers(2))) == [4]
        with pytest.raises(MLServerError, match="cannot be reached"):
            await (await behind(uri, **name)).predict(numbers(2))
        with pytest.raises(MLServerError, match="cannot be reached"):
            await (await behind(port)).predict(numbers(2))
    finally:
        await server.stop(None)
