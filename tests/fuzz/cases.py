"""What is sent: each case follows from the seed, its wire and its number alone."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from random import Random
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc import model_repository_pb2 as repository_pb

from tests.fuzz.mutations import TEXTS, mutated, mutated_json
from tests.fuzz.socket_cases import many_requests, socket_bytes
from tests.live.grpc_calls import SERVICE, jpeg_request, text_request
from tests.live.images import jpeg
from tests.live.rest_calls import image, prompt, tensor

CALLS = ["infer", "infer_stream", "generate", "generate_stream"]
BODIES: dict[str, list[Any]] = {
    "text-model": [prompt("a b c"), prompt("aGkh", "base64", sequence_id=1, timeout=500_000)],
    "cached": [prompt("a b"), prompt("a b", cache="only")],
    "jpeg-model": [image(base64.b64encode(jpeg()).decode(), quality=50)],
    "tensors": [{"id": "1", "inputs": [tensor("x", [1.5, 2.5, -3], "FP32")]}],
}
FLAT = [
    {"text_input": "a b c", "delay": 0},
    {"id": "7", "text_input": ["a b"], "parameters": {"delay": 0, "temperature": 0.5}},
    {"text_input": "a b c", "parameters": {"delay": 0, "resumable": True}},
]
PATHS = [
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/docs", "/v2/docs/dataplane.json"),
    *("/v2/models/text-model", "/v2/models/text-model/ready", "/v2/models/jpeg-model/docs"),
    *("/v2/models/text-model/versions/1/ready", "/openapi.json", "/metrics", "/process/who"),
    *("/v2/models/text-model/config", "/v2/models/text-model/versions/1/stats", "/v2/models/stats"),
    *("/v2/logging", "/v2/trace/setting", "/v2/models/text-model/trace/setting"),
    *("/v2/streams", "/v2/streams/AAAAAAAAAAAAAAAAAAAAAA", "/v2/models/text-model/stream"),
    *("/v1/realtime", "/v2/tokens", "/playground", "/v1/responses/resp_AAAAAAAAAAAAAAAAAAAAAA"),
]
REPOSITORY = [
    ("/v2/repository/index", b'{"ready": true}'),
    ("/v2/repository/models/tensors/load", b""),
    ("/v2/repository/models/tensors/load", b'{"parameters": {"config": "{\\"backend\\": 1}"}}'),
    ("/v2/repository/models/nothing-here/unload", b'{"parameters": {"unload_dependents": true}}'),
    ("/v2/logging", b'{"log_verbose_level": 0}'),
    ("/v2/trace/setting", b'{"trace_rate": "1", "trace_level": ["OFF"]}'),
]
HEADERS = [
    *(
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Content-Encoding",
        "Accept-Encoding",
        "Expect",
    ),
    *(
        "X-Request-Id",
        "X-Api-Key",
        "Authorization",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Cookie",
    ),
    *(
        "Inference-Header-Content-Length",
        "Content-Type",
        "Origin",
        "Upgrade",
        "Connection",
        "Range",
    ),
    *("Access-Control-Request-Method", "traceparent", "Ce-Id", "Accept", "If-None-Match", "Te"),
    *("Last-Event-ID", "Prefer", "Sec-WebSocket-Protocol"),
]
META = ["x-request-id", "traceparent", "triton_grpc_error", "ce-id", "x-resume"]
MESSAGES_A_STREAM = 8


@dataclass
class Case:
    """One thing to send.

    Attributes:
        inputs: how many mutated inputs it is.
        http: bytes of a request whose frame is whole, so that it must be answered.
        raw: bytes of which nothing is certain.
        method, messages, metadata: a gRPC call.
        streams: whether that call's both sides stream.
    """

    name: str
    inputs: int = 1
    http: bytes | None = None
    raw: bytes | None = None
    method: str = ""
    messages: list[bytes] = field(default_factory=list)
    metadata: tuple[tuple[str, str], ...] = ()
    streams: bool = False


class Cases:
    """All cases of a seed."""

    def __init__(self, seed: int, secrets: dict[str, str]):
        """
        Args:
            secrets: valid keys by their names: `infer`, `admin`, `limited`.
        """
        self._seed = seed
        self._secrets = secrets
        self.wires = {
            "rest": self._rest,
            "flat": self._flat,
            "binary": self._binary,
            "openai": self._openai,
            "forms": self._form,
            "paths": self._paths,
            "http": self._http,
            "sockets": self._socket,
            "lines": self._lines,
            "grpc": self._grpc,
            "triton": self._grpc,
            "grpc-streams": self._grpc_stream,
            "triton-streams": self._grpc_stream,
            "grpc-others": self._grpc_other,
            "triton-others": self._grpc_other,
        }

    def case(self, wire: str, number: int) -> Case:
        chance = Random(f"{self._seed}/{wire}/{number}")
        found = self.wires[wire](chance)
        found.name = f"{wire}/{number}"
        return found

    # REST

    def _rest(self, chance: Random) -> Case:
        model = chance.choice(list(BODIES))
        body = chance.choice(BODIES[model])
        return self._post(chance, model, self._body(chance, body), {})

    def _flat(self, chance: Random) -> Case:
        body = self._body(chance, chance.choice(FLAT))
        return self._post(chance, chance.choice(["text-model", "cached", "jpeg-model"]), body, {})

    def _binary(self, chance: Random) -> Case:
        text, tail = chance.choice(BINARY)
        length = len(text)
        kind = chance.randrange(4)
        if kind == 0:
            tail = mutated(tail, chance, SEEDS)
        elif kind == 1:
            text = mutated_json(json.loads(text), chance)
            length = len(text)
        elif kind == 2:
            length += chance.choice([-1, 1, 10**6, -length, 2**64])
        else:
            text = mutated(text, chance, SEEDS)
        model = chance.choice(["tensors", "text-model", "jpeg-model"])
        return self._post(
            chance, model, text + tail, {"Inference-Header-Content-Length": str(length)}
        )

    def _openai(self, chance: Random) -> Case:
        path, said = chance.choice(OPENAI)
        model = chance.choice(["text-model", "language-model", "jpeg-model", "speech-model"])
        body = self._body(chance, {"model": model, "stream": chance.random() < 0.5, **said})
        return Case("", http=self._request(chance, b"POST", b"/v1/" + path, body, {}))

    def _form(self, chance: Random) -> Case:
        whole = FORM if chance.random() < 0.1 else mutated(FORM, chance, [FORM, *SEEDS])
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        target = b"/v1/audio/transcriptions"
        return Case("", http=self._request(chance, b"POST", target, whole, kind))

    def _body(self, chance: Random, value: Any) -> bytes:
        if chance.random() < 0.7:
            return mutated_json(value, chance)
        return mutated(json.dumps(value).encode(), chance, SEEDS)

    def _post(
        self, chance: Random, model: str, body: bytes, headers: dict[str, str], call: str = ""
    ) -> Case:
        target = f"/v2/models/{model}/{call or chance.choice(CALLS)}".encode()
        return Case("", http=self._request(chance, b"POST", target, body, headers))

    def _paths(self, chance: Random) -> Case:
        if chance.random() < 0.3:
            path, body = chance.choice(REPOSITORY)
            method, body = b"POST", mutated(body, chance, SEEDS) if body else body
        else:
            path, body = chance.choice(PATHS), b""
            method = chance.choice([b"GET", b"HEAD", b"POST", b"DELETE", b"OPTIONS", b"PUT"])
        target = path.encode()
        if chance.random() < 0.7:
            target = b"/" + b"".join(
                b"%%%02x" % byte if byte <= 0x20 or byte >= 0x7F or byte in b"#" else bytes([byte])
                for byte in mutated(target[1:], chance, SEEDS)[:4000]
            )
        if b"unload" in target and b"nothing-here" not in target:
            target = b"/v2"  # what is unloaded answers nothing any more
        return Case("", http=self._request(chance, method, target, body, {}))

    def _request(
        self, chance: Random, method: bytes, target: bytes, body: bytes, headers: dict[str, str]
    ) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: localhost"]
        headers = {**self._key(chance), **headers}
        if chance.random() < 0.2:
            name = chance.choice([each for each in HEADERS if each not in FRAMES])
            headers[name] = chance.choice([*TEXTS, "1", "gzip", "a,b;q=0", "application/json", "*"])
        for name, value in headers.items():
            clean = "".join(each for each in value if each >= " " and each not in "\x7f\x85\u2028")
            lines.append(name.encode() + b": " + clean.encode("utf-8", "replace"))
        lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def _http(self, chance: Random) -> Case:
        whole = self._post(chance, "text-model", json.dumps(prompt("a")).encode(), {}).http
        assert whole is not None
        if chance.random() < 0.5:
            name = chance.choice(HEADERS).encode()
            value = chance.choice(TEXTS).encode("utf-8", "replace")
            whole = whole.replace(b"\r\n", b"\r\n" + name + b": " + value + b"\r\n", 1)
        return Case("", raw=mutated(whole, chance, [*SEEDS, whole]))

    def _socket(self, chance: Random) -> Case:
        return Case("", raw=socket_bytes(chance, self._key(chance), SEEDS))

    def _lines(self, chance: Random) -> Case:
        kind, body = many_requests(chance, SEEDS)
        model = chance.choice(["text-model", "cached", "jpeg-model"])
        return self._post(chance, model, body, {"Content-Type": kind}, "generate_stream")

    def _key(self, chance: Random) -> dict[str, str]:
        kind = chance.randrange(12)
        secret = self._secrets["admin" if kind == 0 else "limited" if kind == 1 else "infer"]
        if kind == 2:
            return {}
        if kind == 3:
            changed = mutated(secret.encode(), chance, SEEDS).decode("latin-1")[:3000]
            return {chance.choice(["x-api-key", "authorization"]): changed}
        if kind == 4:
            part = base64.urlsafe_b64encode(mutated(b'{"alg":"RS256"}', chance, SEEDS)[:2000])
            return {"authorization": f"Bearer {part.decode()}.{part.decode()}.x"}
        if kind == 5:
            return {"authorization": f"Bearer {secret}"}
        return {"x-api-key": secret}

    # gRPC

    def _grpc(self, chance: Random) -> Case:
        message = mutated(chance.choice(MESSAGES), chance, SEEDS)
        return Case(
            "", method=SERVICE + "ModelInfer", messages=[message], metadata=self._meta(chance)
        )

    def _grpc_stream(self, chance: Random) -> Case:
        messages = [
            mutated(chance.choice(MESSAGES), chance, SEEDS)
            for _ in range(chance.randint(1, MESSAGES_A_STREAM))
        ]
        return Case(
            "",
            len(messages),
            method=SERVICE + "ModelStreamInfer",
            messages=messages,
            metadata=self._meta(chance),
            streams=True,
        )

    def _grpc_other(self, chance: Random) -> Case:
        method, seed = chance.choice(OTHERS)
        message = mutated(seed, chance, SEEDS) if chance.random() < 0.9 else seed
        streams = method.endswith(("Watch", "Info"))
        if method.endswith("Unload") and b"nothing-here" not in message:
            message = b""
        return Case(
            "", method=method, messages=[message], metadata=self._meta(chance), streams=streams
        )

    def _meta(self, chance: Random) -> tuple[tuple[str, str], ...]:
        found = self._key(chance)
        if chance.random() < 0.2:
            name = chance.choice(META)
            found[name] = chance.choice([*TEXTS, "true", "AAAAAAAAAAAAAAAAAAAAAA.1"])
        # What gRPC's client does not take does not leave it.
        return tuple(
            (name.lower(), "".join(each for each in value if " " <= each <= "~")[:3000].strip())
            for name, value in found.items()
        )


USER = {"role": "user", "content": [{"type": "text", "text": "a b"}]}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^a$"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
OPENAI: list[tuple[bytes, dict[str, Any]]] = [
    (b"chat/completions", {"messages": [USER], "max_tokens": 2, "delay": 0, "temperature": 0.5}),
    (
        b"chat/completions",
        {
            "messages": [
                {"role": "system", "content": "a"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "1", "content": "b"},
            ],
            "max_completion_tokens": 2,
            "tools": [TOOL],
            "tool_choice": "auto",
            "logprobs": True,
            "top_logprobs": 2,
        },
    ),
    (b"chat/completions", {"messages": [USER], "max_tokens": 2, "response_format": FORMAT, "n": 2}),
    (b"completions", {"prompt": ["a b", "c"], "max_tokens": 2, "logprobs": 1, "stop": ["b"]}),
    (b"responses", {"input": [USER], "instructions": "a", "max_output_tokens": 2}),
    (b"embeddings", {"input": "a"}),
]
PART = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
SOUND = b"RIFF\x24\x08\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data"
FORM = b"".join(
    (
        PART % (b"model", b"", b"speech-model"),
        PART % (b"response_format", b"", b"verbose_json"),
        PART % (b"temperature", b"", b"0.5"),
        PART % (b"timestamp_granularities[]", b"", b"segment"),
        PART % (b"file", b'; filename="a.wav"', SOUND + struct.pack("<I", 2048) + bytes(2048)),
        b"--x--\r\n",
    )
)
FRAMES = {"Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "Host"}
FP32 = struct.pack("<3f", 1.5, 2.5, -3)
TEXT = struct.pack("<I", 3) + b"a b"
BINARY = [
    (
        json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": [count],
                        "datatype": kind,
                        "parameters": {"binary_data_size": len(data)},
                    }
                ],
                "outputs": [{"name": output, "parameters": {"binary_data": True}}],
                "parameters": {"delay": 0},
            }
        ).encode(),
        data,
    )
    for name, kind, count, data, output in (
        ("x", "FP32", 3, FP32, "sum"),
        ("prompt", "BYTES", 1, TEXT, "text"),
        ("image", "BYTES", 1, struct.pack("<I", len(jpeg())) + jpeg(), "image"),
    )
]
TYPED = pb.ModelInferRequest(model_name="tensors", id="1")
TYPED.inputs.add(name="x", datatype="FP32", shape=[3]).contents.fp32_contents.extend([1, 2, 3])
RAW = pb.ModelInferRequest(model_name="tensors", raw_input_contents=[FP32])
RAW.inputs.add(name="x", datatype="FP32", shape=[3])
MESSAGES = [
    each.SerializeToString()
    for each in (
        *(text_request("a b c", request_id="1"), text_request("a b", model="cached")),
        text_request("a", sequence_id=7, sequence_start=True, timeout=500_000),
        *(jpeg_request(jpeg(), quality=50), TYPED, RAW),
    )
]
NAMED = pb.ModelMetadataRequest(name="text-model", version="1").SerializeToString()
OTHERS = [
    *((SERVICE + name, b"") for name in ("ServerLive", "ServerReady", "ServerMetadata")),
    *((SERVICE + name, NAMED) for name in ("ModelReady", "ModelMetadata", "ModelConfig")),
    (SERVICE + "ModelStatistics", NAMED),
    (SERVICE + "RepositoryIndex", pb.RepositoryIndexRequest(ready=True).SerializeToString()),
    (
        SERVICE + "RepositoryModelUnload",
        pb.RepositoryModelUnloadRequest(model_name="nothing-here").SerializeToString(),
    ),
    (
        "/inference.model_repository.ModelRepositoryService/RepositoryIndex",
        repository_pb.RepositoryIndexRequest(ready=True).SerializeToString(),
    ),
    (
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(service=SERVICE.strip("/")).SerializeToString(),
    ),
    (
        "/grpc.health.v1.Health/Watch",
        health_pb2.HealthCheckRequest(service="").SerializeToString(),
    ),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest(list_services="*").SerializeToString(),
    ),
    (SERVICE + "NoSuchMethod", b""),
]
SEEDS = [
    *MESSAGES,
    *(text + data for text, data in BINARY),
    *(json.dumps(body).encode() for bodies in BODIES.values() for body in bodies),
    *(json.dumps(body).encode() for body in FLAT),
]
