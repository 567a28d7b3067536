"""A text to ask for, in each server's form, and whether an answer holds it again."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mlserver.grpc import dataplane_pb2 as pb

WORDS = 200


def prompt(count: int = WORDS) -> str:
    """`count` words, as long as English ones are."""
    return " ".join(("What", "is", "the", "capital", "of", "France")[n % 6] for n in range(count))


def v2_body(text: str, **parameters: object) -> bytes:
    """A V2 request in JSON; `parameters` are the request's."""
    tensor = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [text]}
    return json.dumps({"inputs": [tensor], "parameters": parameters}).encode()


def flat_body(text: str) -> bytes:
    """As servers have it that take inputs by name."""
    return json.dumps({"prompt": text}).encode()


def message(model: str, text: str) -> bytes:
    """A serialised ModelInferRequest, its tensor typed."""
    contents = pb.InferTensorContents(bytes_contents=[text.encode()])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="prompt", datatype="BYTES", shape=[1], contents=contents
    )
    return pb.ModelInferRequest(model_name=model, id="0", inputs=[tensor]).SerializeToString()


def holds(text: str, body: bytes) -> bool:
    """Whether a unary answer has it, in JSON or plain."""
    return text.encode() in body


def are_events(text: str, body: bytes) -> bool:
    """Whether a body's events have it again, a word each."""
    *blocks, rest = body.decode().split("\n\n")
    # What can be resumed has ids too.
    events = [json.loads(each.partition("data: ")[2]) for each in blocks]
    return not rest and list(map(_word, events)) == pieces(text)


def _word(event: Any) -> str:
    """Of a V2 response, or in the flat form of Triton's generate extension."""
    return str(event["outputs"][0]["data"][0] if "outputs" in event else event["output"])


def are_messages(
    unwrap: Callable[[bytes], bytes], wanted: Sequence[str], messages: Sequence[bytes]
) -> bool:
    """Whether responses have these words, one each; Triton's last has none."""
    return [word(unwrap(each)) for each in messages if unwrap(each)] == wanted


def word(response: bytes) -> str:
    """The text of a response, raw as Triton gives it or typed."""
    found = pb.ModelInferResponse.FromString(response)
    if found.raw_output_contents:
        return found.raw_output_contents[0][4:].decode()
    return found.outputs[0].contents.bytes_contents[0].decode()


def pieces(text: str) -> list[str]:
    """The words as they are answered, each but the first with the space before it."""
    return [f" {word}" if index else word for index, word in enumerate(text.split(" "))]
