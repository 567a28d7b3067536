"""Requests of the paced streams, encoded once: a frame, or a prompt, in each wire's form."""

import base64
import json
from collections.abc import Mapping, Sequence

from clients.grpc_messages import Parameter, bytes_request

Parameters = Mapping[str, Parameter]


def grpc_requests(
    model: str, tensor: str, elements: Sequence[bytes], parameters: Parameters
) -> list[bytes]:
    """A serialised ModelInferRequest for each element, raw, a BYTES tensor of one; its id is its
    place."""
    return [
        bytes_request(
            element, model=model, request_id=str(index), tensor=tensor, parameters=parameters
        ).SerializeToString()
        for index, element in enumerate(elements)
    ]


def v2_body(tensor: str, element: str, is_base64: bool, parameters: Parameters) -> bytes:
    """An InferenceRequest in JSON."""
    kind = "base64" if is_base64 else "str"
    return json.dumps(
        {
            "parameters": dict(parameters),
            "inputs": [
                {
                    "name": tensor,
                    "datatype": "BYTES",
                    "shape": [1],
                    "data": [element],
                    "parameters": {"content_type": kind},
                }
            ],
        }
    ).encode()


def flat_body(tensor: str, element: str, parameters: Parameters) -> bytes:
    """The flat form of Triton's generate extension."""
    return json.dumps({tensor: element, "parameters": dict(parameters)}).encode()


def as_text(element: bytes) -> tuple[str, bool]:
    """An element for JSON: its text, and whether that is base64."""
    try:
        return element.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(element).decode(), True


def http_request(
    path: str, host: str, body: bytes, headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole HTTP request."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Accept: text/event-stream",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
