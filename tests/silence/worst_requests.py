"""The worst requests of each kind that the limits let in, over every wire.

Sizes are given as bytes of a body; each kind fills its own with what is dearest to read for it.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mlserver.grpc import dataplane_pb2 as pb

# A little below the limits of a body and of a message.
MOST_BYTES = 63 * 1024 * 1024
INFER, STREAM = "ModelInfer", "ModelStreamInfer"
REST, GRPC, TRITON = "rest", "grpc", "triton"
JSON = {"content-type": "application/json"}
JSON_LENGTH = "Inference-Header-Content-Length"
INPUT = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]}
Body = Callable[[], bytes]


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
    body: Body
    headers: dict[str, str] = field(default_factory=dict)


def worst_requests(most: int = MOST_BYTES) -> list[Worst]:
    """All kinds.

    Args:
        most: bytes of the largest; the others are in proportion.
    """
    sizes = Sizes(most)
    return [
        *in_json(sizes),
        *flat(sizes),
        *binary(sizes),
        *in_messages(GRPC, sizes),
        *in_messages(TRITON, sizes),
    ]


class Sizes:
    """How much of each the largest body allows."""

    def __init__(self, most: int):
        self.most = most
        self.words = "a " * self.several(200_000)
        self.image = np.random.default_rng(0).random(self.several(1_920) * 640, np.float32)
        # As many numbers, or lengths of empty strings, as there is room for.
        self.many = most // 4 - 64
        self.floats = np.ones(self.many, np.float32)

    def several(self, count: int) -> int:
        return max(1, int(count * self.most / MOST_BYTES))


def in_json(sizes: Sizes) -> list[Worst]:
    most, several, image = sizes.most, sizes.several, sizes.image

    def kind(name: str, body: Body, call: str = "echo/infer", **headers: str) -> Worst:
        named = {header.replace("_", "-"): value for header, value in headers.items()}
        return Worst(f"JSON: {name}", REST, call, body, {**JSON, **named})

    def one(element: str, size: int = most, datatype: str = "INT32") -> Body:
        count = (size - 200) // (len(element) + 1)
        return lambda: in_tensor(datatype, [count], "[" + ",".join([element] * count) + "]")

    def listed(*shape: int) -> Body:
        array = image.reshape(shape)
        return lambda: in_tensor("FP32", array.shape, json.dumps(array.tolist()))

    def string(unit: str, before: str = '["', after: str = '"]') -> Body:
        count = (most - 200) // len(unit)
        return lambda: in_tensor("BYTES", [1], before + unit * count + after)

    def asked(inputs: int, **more: Any) -> Body:
        return lambda: json.dumps({"inputs": [INPUT] * inputs, **more}).encode()

    numbers, blanks = listed(image.size), string(" ", "", '["a"]')
    parameters = {str(index): index for index in range(several(1_000_000))}
    return [
        kind("one-digit numbers", one("1")),
        kind("numbers as long as can be", one("0.12345678901234567", datatype="FP64")),
        kind("1.2 million numbers", numbers),
        kind("the same in rows", listed(-1, 640)),
        kind("the same, streamed", numbers, "echo/infer_stream"),
        kind(
            "the same, compressed",
            lambda: gzip.compress(numbers(), 1),
            content_encoding="gzip",
            accept_encoding="gzip",
        ),
        kind("rows of nothing", one("[]", several(12_000_000))),
        kind("rows of one number", one("[1]")),
        kind("rows nested 32 deep", one("[" * 32 + "]" * 32, several(12_000_000))),
        kind("strings of two", one('"ab"', datatype="BYTES")),
        kind("one string", string("a")),
        kind("one string of escapes", string("\\n")),
        kind("blanks", blanks),
        kind("300,000 inputs", asked(several(300_000))),
        kind("300,000 outputs asked for", asked(1, outputs=[{"name": "x"}] * several(300_000))),
        kind("a million parameters", asked(1, parameters=parameters)),
        kind("a parameter of a million lists", asked(1, parameters={"x": [[]] * len(parameters)})),
        kind(
            "blanks, 1 to 1,000 compressed",
            lambda: gzip.compress(blanks()),
            content_encoding="gzip",
        ),
    ]


def flat(sizes: Sizes) -> list[Worst]:
    words, several = sizes.words, sizes.several

    def kind(name: str, text: object, call: str = "text-model/generate", more: int = 0) -> Worst:
        keys = {str(index): index for index in range(more)}
        whole = {"text_input": text, "parameters": {"delay": 0}, **keys}
        return Worst(f"flat: {name}", REST, call, lambda: json.dumps(whole).encode(), JSON)

    return [
        kind("200,000 words", words),
        kind("200,000 words, streamed", words, "text-model/generate_stream"),
        kind("200,000 words, cached", words, "text-cached/generate"),
        kind("200,000 words, from the cache", words, "text-cached/generate"),
        kind("ten million words", "a " * several(10_000_000)),
        kind("a million prompts", ["a"] * several(1_000_000)),
        kind("a million keys", "a", more=several(1_000_000)),
    ]


def binary(sizes: Sizes) -> list[Worst]:
    image, floats, many = sizes.image, sizes.floats, sizes.several(4_000_000)

    def kind(
        name: str, data: Any, shape: int, call: str = "echo/infer", so: bool = True, **headers: str
    ) -> Worst:
        tensor = {
            "name": "audio" if call.startswith("speech") else "x",
            "datatype": "BYTES" if isinstance(data, bytes) else "FP32",
            "shape": [shape],
            "parameters": {"binary_data_size": memoryview(data).nbytes},
        }
        whole = {"inputs": [tensor], "parameters": {"binary_data_output": so}}
        head = json.dumps(whole).encode()
        found = {"content-type": "application/octet-stream", JSON_LENGTH: str(len(head))}
        found |= {header.replace("_", "-"): value for header, value in headers.items()}
        return Worst(f"binary: {name}", REST, call, lambda: b"".join((head, data)), found)

    empty, wav = bytes(4 * many), packed(_wav(sizes.several(60_000_000)))
    return [
        kind("4 million empty BYTES, said to be one", empty, 1),
        kind("4 million empty BYTES", empty, many),
        kind("numbers", floats, floats.size),
        kind("numbers, answered as JSON", image, image.size, so=False),
        kind(
            "numbers, answered as compressed JSON",
            *(image, image.size),
            so=False,
            accept_encoding="gzip",
        ),
        kind("numbers, answered compressed", floats, floats.size, accept_encoding="gzip"),
        kind("numbers, cached", floats, floats.size, "echo-cached/infer"),
        kind("numbers, answered as events", image, image.size, "echo/infer_stream"),
        kind("a WAV of half an hour", wav, 1, "speech-model/infer"),
    ]


def in_messages(wire: str, sizes: Sizes) -> list[Worst]:
    most, several, many = sizes.most, sizes.several, sizes.many
    head, words = message(), packed(sizes.words.encode())

    def kind(name: str, body: Body, call: str = INFER) -> Worst:
        said = {GRPC: "gRPC", TRITON: "Triton"}[wire]
        return Worst(f"{said}: {name}", wire, call, body)

    # Written by hand: protobuf would have it thrice.
    def raw(datatype: str, count: int, data: Any, model: str = "echo") -> Body:
        name = "prompt" if model.startswith("text") else "x"
        asked = message(model, name=name, datatype=datatype, shape=[count])
        return lambda: b"".join((asked, b"\x3a", length(memoryview(data).nbytes), data))

    def typed(datatype: str, tag: int, count: int, element: bytes) -> Body:
        """A tensor whose contents are `count` elements; strings have tags of their own."""

        def made() -> bytes:
            data = element * count
            tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype)
            tensor.shape.append(count)
            field = bytes([tag << 3 | 2]) + length(len(data)) + data if tag else data
            contents = tensor.SerializeToString() + b"\x2a" + length(len(field)) + field
            return head + b"\x2a" + length(len(contents)) + contents

        return made

    def inputs() -> bytes:
        tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="BYTES", shape=[1])
        one = pb.ModelInferRequest(inputs=[tensor]).SerializeToString()
        return head + one * several(400_000)

    def parameters() -> bytes:
        request = pb.ModelInferRequest(model_name="echo")
        for index in range(several(900_000)):
            request.parameters[str(index)].int64_param = index
        return request.SerializeToString()

    empty, bytewise = bytes(4 * many), most - 100
    kinds = [
        kind("empty BYTES, said to be one", raw("BYTES", 1, empty)),
        kind("empty BYTES", raw("BYTES", many, empty)),
        kind("400,000 inputs", inputs),
        kind("900,000 parameters", parameters),
        kind(
            "millions of sizes in a shape",
            lambda: message(datatype="FP32", shape=[1] * bytewise),
        ),
        kind("raw numbers", raw("FP32", many, sizes.floats)),
        kind("typed FP32", typed("FP32", 6, many, struct.pack("<f", 1))),
        kind("typed INT32 of a byte each", typed("INT32", 2, bytewise, b"\1")),
        kind("typed INT64 of a byte each", typed("INT64", 3, bytewise, b"\1")),
        kind("typed BOOL", typed("BOOL", 1, bytewise, b"\1")),
        kind("typed empty BYTES", typed("BYTES", 0, many, b"\x42\0")),
        kind("millions of unknown fields", lambda: head + b"\x78\1" * (most // 2 - 100)),
        kind("200,000 words", raw("BYTES", 1, words, "text-model")),
    ]
    streamed = [
        kind("empty BYTES, streamed", raw("BYTES", many, empty), STREAM),
        kind("400,000 inputs, streamed", inputs, STREAM),
        kind("raw numbers, streamed", raw("FP32", many, sizes.floats), STREAM),
        kind("200,000 words, streamed", raw("BYTES", 1, words, "text-model"), STREAM),
    ]
    # Unary calls are the same on both ports.
    return [*kinds, *streamed] if wire == GRPC else streamed


def in_tensor(datatype: str, shape: Sequence[int], data: str) -> bytes:
    """A request of one tensor; `data` is JSON already."""
    head = json.dumps({"name": "x", "datatype": datatype, "shape": shape})
    return f'{{"inputs":[{head[:-1]},"data":{data}}}]}}'.encode()


def message(model: str = "echo", **tensor: Any) -> bytes:
    inputs = [pb.ModelInferRequest.InferInputTensor(**{"name": "x", **tensor})] if tensor else []
    request = pb.ModelInferRequest(model_name=model, inputs=inputs)
    if model.startswith("text"):
        request.parameters["delay"].int64_param = 0
    return request.SerializeToString()


def packed(element: bytes) -> bytes:
    """A BYTES tensor of one."""
    return struct.pack("<I", len(element)) + element


def length(value: int) -> bytes:
    """As protobuf has it before data, a varint."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _wav(size: int) -> bytes:
    """16-bit silence at 16 kHz."""
    with io.BytesIO() as made:
        with wave.open(made, "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes(size))
        return made.getvalue()
