"""What a contender is asked, over which wire, and whether its answer is right.

A wire is a connection, or a stream on one: `open`; `ask`, one request, told of each message of its
answer as it comes; `whole`, its whole answer; `close`. Where it is not `in_turn` it takes requests
while it answers: `send`, `receive`, `end`; and `read` tells what a message says went wrong, and its
id. All raise AnswerError where an answer is an error, or cut.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clients.server_process import HOST

from ..contenders.process import Target
from .grpc_wire import CALL_SECONDS, STREAM, UNARY, GrpcWire
from .http_wire import JSON, HttpWire, post
from .load_process import AnswerError


@dataclass(frozen=True)
class HttpCall:
    """What is asked over HTTP.

    Attributes:
        is_right: whether a body is the right answer.
        responses: how many an answer holds.
        certificate: of whom the server's is, a PEM file, where it speaks TLS.
    """

    path: str
    body: bytes
    is_right: Callable[[bytes], bool]
    responses: int = 1
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: str = ""
    way = "http"

    @property
    def request(self) -> bytes:
        return post(self.path, self.body, self.content_type, self.headers)


@dataclass(frozen=True)
class GrpcCall:
    """What is asked over gRPC: one message, answered with one or several.

    Attributes:
        is_right: whether messages are the right answer.
        triton: ask the port that has Triton's dialect.
    """

    method: str
    request: bytes
    is_right: Callable[[Sequence[bytes]], bool]
    triton: bool = False

    @property
    def way(self) -> str:
        return "triton" if self.triton else "unary" if self.method == UNARY else "grpc"


Asked = HttpCall | GrpcCall


def wire_to(target: Target, way: str, timeout: float | None = None) -> Any:
    """The wire to a contender.

    Args:
        way: http; or grpc, triton and unary.
    """
    if way == "http":
        return HttpWire(HOST, target.http)
    port = target.triton if way == "triton" else target.grpc
    method = UNARY if way == "unary" else STREAM
    return GrpcWire(f"{HOST}:{port}", method, way == "triton", timeout=timeout)


async def opened(target: Target, way: str, streams: int) -> list[Any]:
    """Open wires for so many streams: over gRPC on one connection."""
    first = wire_to(target, way, CALL_SECONDS)
    await first.open()
    if isinstance(first, GrpcWire):
        return [first, *(first.beside() for _ in range(streams - 1))]
    others = [wire_to(target, way) for _ in range(streams - 1)]
    for each in others:
        await each.open()
    return [first, *others]


async def right_answer(wire: Any, call: Asked) -> Any:
    """The whole answer to a call; raises AnswerError where it is wrong."""
    answer = await wire.whole(call.request)
    if not call.is_right(answer):
        shown = answer[:300] if isinstance(answer, bytes) else answer[:3]
        raise AnswerError(f"a wrong answer: {shown!r}")
    return answer
