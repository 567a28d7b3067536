"""The worst requests of each kind that the limits let in, over every wire.

Sizes are given as bytes of a body; each kind fills its own with what is dearest to read for it.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import wave
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from mlserver.grpc import dataplane_pb2 as pb

# A little below the limits of a body and of a message.
MOST_BYTES = 63 * 1024 * 1024
JSON_LENGTH = "Inference-Header-Content-Length"
INFER, STREAM = "ModelInfer", "ModelStreamInfer"
REST, GRPC, TRITON = "rest", "grpc", "triton"


@dataclass(frozen=True)
class Worst:
    """A kind of request.

    Attributes:
        name: what is bad about it.
        wire: REST, GRPC or TRITON.
        call: an HTTP path below /v2/models/, or a gRPC method.
        body: makes the body or message.
        headers: of HTTP.
    """

    name: str
    wire: str
    call: str
    body: Callable[[], bytes]
    headers: dict[str, str] = field(default_factory=dict)


def worst_requests(most: int = MOST_BYTES) -> list[Worst]:
    """All kinds.

    Args:
        most: bytes of the largest; the others are in proportion.
    """
    share = most / MOST_BYTES

    def several(count: int) -> int:
        return max(1, int(count * share))

    words = "a " * several(200_000)
    image = np.random.default_rng(0).random(several(1_228_800), np.float32)
    floats = np.ones(most // 4 - 64, np.float32)
    return [
        *_json(most, several, image),
        *_flat(several, words),
        *_binary(several, floats, image),
        *_grpc(GRPC, most, several, words),
        *_grpc(TRITON, most, several, words),
    ]


Several = Callable[[int], int]


def _json(most: int, several: Several, image: np.ndarray) -> list[Worst]:
    def kind(
        name: str, body: Callable[[], bytes], call: str = "echo/infer", **headers: str
    ) -> Worst:
        return Worst(
            f"JSON: {name}", REST, call, body, {"content-type": "application/json", **headers}
        )

    def one(element: str, size: int = most, datatype: str = "INT32") -> Callable[[], bytes]:
        count = (size - 200) // (len(element) + 1)
        return lambda: tensor(datatype, [count], "[" + ",".join([element] * count) + "]")

    return [
        kind("one-digit numbers", one("1")),
        kind("numbers as long as can be", one("0.12345678901234567", datatype="FP64")),
        kind("1.2 million numbers", lambda: tensor("FP32", [image.size], _listed(image))),
        kind(
            "the same in rows", lambda: tensor("FP32", [image.size // 640, 640], _rows(image, 640))
        ),
        kind(
            "the same, streamed",
            lambda: tensor("FP32", [image.size], _listed(image)),
            "echo/infer_stream",
        ),
        kind(
            "the same, compressed",
            lambda: gzip.compress(tensor("FP32", [image.size], _listed(image)), 1),
            **{"content-encoding": "gzip", "accept-encoding": "gzip"},
        ),
        kind("rows of nothing", one("[]", several(12_000_000))),
        kind("rows of one number", one("[1]")),
        kind("rows nested 32 deep", one("[" * 32 + "]" * 32, several(12_000_000))),
        kind("strings of two", one('"ab"', datatype="BYTES")),
        kind("one string", lambda: tensor("BYTES", [1], '["' + "a" * (most - 200) + '"]')),
        kind(
            "one string of escapes",
            lambda: tensor("BYTES", [1], '["' + "\\n" * ((most - 200) // 2) + '"]'),
        ),
        kind("blanks", lambda: tensor("BYTES", [1], " " * (most - 200) + '["a"]')),
        kind("300,000 inputs", lambda: _request(inputs=[_INPUT] * several(300_000))),
        kind(
            "300,000 outputs asked for",
            lambda: _request([_INPUT], outputs=[{"name": "x"}] * several(300_000)),
        ),
        kind(
            "a million parameters",
            lambda: _request([_INPUT], parameters={str(i): i for i in range(several(1_000_000))}),
        ),
        kind(
            "a parameter of a million lists",
            lambda: _request([_INPUT], parameters={"x": [[]] * several(1_000_000)}),
        ),
        kind(
            "blanks, 1 to 1,000 compressed",
            lambda: gzip.compress(tensor("BYTES", [1], " " * (most - 200) + '["a"]')),
            **{"content-encoding": "gzip"},
        ),
    ]


def _flat(several: Several, words: str) -> list[Worst]:
    def kind(name: str, body: Callable[[], bytes], call: str) -> Worst:
        return Worst(f"flat: {name}", REST, call, body, {"content-type": "application/json"})

    def flat(text: object, **more: object) -> Callable[[], bytes]:
        return lambda: json.dumps({"text_input": text, "parameters": {"delay": 0}, **more}).encode()

    return [
        kind("200,000 words", flat(words), "text-model/generate"),
        kind("200,000 words, streamed", flat(words), "text-model/generate_stream"),
        kind("200,000 words, cached", flat(words), "text-cached/generate"),
        kind("200,000 words, from the cache", flat(words), "text-cached/generate"),
        kind("ten million words", flat("a " * several(10_000_000)), "text-model/generate"),
        kind("a million prompts", flat(["a"] * several(1_000_000)), "text-model/generate"),
        kind(
            "a million keys",
            flat("a", **{str(i): i for i in range(several(1_000_000))}),
            "text-model/generate",
        ),
    ]


def _binary(several: Several, floats: np.ndarray, image: np.ndarray) -> list[Worst]:
    def kind(
        name: str,
        datatype: str,
        shape: list[int],
        tail: Callable[[], bytes],
        call: str = "echo/infer",
        all_binary: bool = True,
        headers: dict[str, str] | None = None,
    ) -> Worst:
        def head(data: bytes) -> bytes:
            found = {
                "name": "audio" if call.startswith("speech") else "x",
                "datatype": datatype,
                "shape": shape,
                "parameters": {"binary_data_size": len(data)},
            }
            return json.dumps(
                {"inputs": [found], "parameters": {"binary_data_output": all_binary}}
            ).encode()

        def body() -> bytes:
            data = tail()
            return head(data) + data

        length = str(len(head(tail())))
        return Worst(
            f"binary: {name}",
            REST,
            call,
            body,
            {"content-type": "application/octet-stream", JSON_LENGTH: length, **(headers or {})},
        )

    many = several(4_000_000)
    return [
        kind("4 million empty BYTES, said to be one", "BYTES", [1], lambda: bytes(4 * many)),
        kind("4 million empty BYTES", "BYTES", [many], lambda: bytes(4 * many)),
        kind("numbers", "FP32", [floats.size], floats.tobytes),
        kind("numbers, answered as JSON", "FP32", [image.size], image.tobytes, all_binary=False),
        kind(
            "numbers, answered as compressed JSON",
            "FP32",
            [image.size],
            image.tobytes,
            all_binary=False,
            headers={"accept-encoding": "gzip"},
        ),
        kind(
            "numbers, answered compressed",
            "FP32",
            [floats.size],
            floats.tobytes,
            headers={"accept-encoding": "gzip"},
        ),
        kind("numbers, cached", "FP32", [floats.size], floats.tobytes, "echo-cached/infer"),
        kind(
            "numbers, answered as events", "FP32", [image.size], image.tobytes, "echo/infer_stream"
        ),
        kind(
            "a WAV of half an hour",
            "BYTES",
            [1],
            lambda: _raw([_wav(several(60_000_000))]),
            "speech-model/infer",
        ),
    ]


def _grpc(wire: str, most: int, several: Several, words: str) -> list[Worst]:
    def kind(name: str, message: Callable[[], bytes], call: str = INFER) -> Worst:
        said = {"grpc": "gRPC", "triton": "Triton"}[wire]
        return Worst(f"{said}: {name}", wire, call, message)

    def raw(
        model: str, datatype: str, shape: list[int], data: Callable[[], bytes]
    ) -> Callable[[], bytes]:
        # Written by hand: protobuf would have it thrice.
        def made() -> bytes:
            head = pb.ModelInferRequest(model_name=model)
            head.inputs.add(
                name="prompt" if model.startswith("text") else "x", datatype=datatype, shape=shape
            )
            head.parameters["delay"].int64_param = 0
            found = data()
            return head.SerializeToString() + b"\x3a" + _varint(len(found)) + found

        return made

    def typed(
        datatype: str, count: int, tag: int, packed: Callable[[], bytes]
    ) -> Callable[[], bytes]:
        def made() -> bytes:
            tensor = pb.ModelInferRequest.InferInputTensor(
                name="x", datatype=datatype, shape=[count]
            )
            data = packed()
            field = bytes([tag << 3 | 2]) + _varint(len(data)) + data if tag != 8 else data
            contents = tensor.SerializeToString() + b"\x2a" + _varint(len(field)) + field
            head = pb.ModelInferRequest(model_name="echo").SerializeToString()
            return head + b"\x2a" + _varint(len(contents)) + contents

        return made

    def inputs(count: int) -> Callable[[], bytes]:
        each = pb.ModelInferRequest(
            inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="BYTES", shape=[1])]
        ).SerializeToString()
        return lambda: pb.ModelInferRequest(model_name="echo").SerializeToString() + each * count

    def parameters(count: int) -> Callable[[], bytes]:
        def made() -> bytes:
            request = pb.ModelInferRequest(model_name="echo")
            for number in range(count):
                request.parameters[str(number)].int64_param = number
            return request.SerializeToString()

        return made

    def sizes(count: int) -> Callable[[], bytes]:
        return lambda: pb.ModelInferRequest(
            model_name="echo",
            inputs=[
                pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1] * count)
            ],
        ).SerializeToString()

    head = pb.ModelInferRequest(model_name="echo").SerializeToString()
    floats = np.ones(most // 4 - 64, np.float32)
    many = most // 4 - 64
    prompt = words.encode()
    kinds = [
        kind(
            "empty BYTES, said to be one",
            raw("echo", "BYTES", [1], lambda: bytes(4 * many)),
        ),
        kind("empty BYTES", raw("echo", "BYTES", [many], lambda: bytes(4 * many))),
        kind("400,000 inputs", inputs(several(400_000))),
        kind("900,000 parameters", parameters(several(900_000))),
        kind("millions of sizes in a shape", sizes(most - 100)),
        kind("raw numbers", raw("echo", "FP32", [floats.size], floats.tobytes)),
        kind("typed FP32", typed("FP32", floats.size, 6, floats.tobytes)),
        kind(
            "typed INT32 of a byte each",
            typed("INT32", most - 100, 2, lambda: b"\1" * (most - 100)),
        ),
        kind(
            "typed INT64 of a byte each",
            typed("INT64", most - 100, 3, lambda: b"\1" * (most - 100)),
        ),
        kind("typed BOOL", typed("BOOL", most - 100, 1, lambda: b"\1" * (most - 100))),
        kind("typed empty BYTES", typed("BYTES", many, 8, lambda: b"\x42\0" * many)),
        kind("millions of unknown fields", lambda: head + b"\x78\1" * (most // 2 - 100)),
        kind("200,000 words", raw("text-model", "BYTES", [1], lambda: _raw([prompt]))),
    ]
    streamed = [
        kind(
            "empty BYTES, streamed",
            raw("echo", "BYTES", [many], lambda: bytes(4 * many)),
            STREAM,
        ),
        kind("400,000 inputs, streamed", inputs(several(400_000)), STREAM),
        kind("raw numbers, streamed", raw("echo", "FP32", [floats.size], floats.tobytes), STREAM),
        kind(
            "200,000 words, streamed",
            raw("text-model", "BYTES", [1], lambda: _raw([prompt])),
            STREAM,
        ),
    ]
    # Unary calls are the same on both ports.
    return [*kinds, *streamed] if wire == GRPC else streamed


_INPUT = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]}


def tensor(datatype: str, shape: list[int], data: str) -> bytes:
    """A request of one tensor; `data` is JSON already."""
    return (
        f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{json.dumps(shape)},"data":{data}}}]}}'
    ).encode()


def _request(inputs: list[object], **more: object) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def _listed(image: np.ndarray) -> str:
    return json.dumps(image.tolist())


def _rows(image: np.ndarray, length: int) -> str:
    return json.dumps(image[: image.size // length * length].reshape(-1, length).tolist())


def _raw(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def _wav(size: int) -> bytes:
    """16-bit silence at 16 kHz."""
    with io.BytesIO() as made:
        with wave.open(made, "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes(size))
        return made.getvalue()


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
