"""gRPC responses as the service sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from mlserver.grpc.dataplane_pb2 import InferParameter, ModelInferResponse

# Takes the requests of a stream and the call's context, gives the responses.
Handler = Callable[[Iterator[Any], Any], Iterator[Any]]


def raw_response(request_id: str, tensor: str, data: bytes) -> ModelInferResponse:
    """One BYTES [1] output, its element in raw contents."""
    return ModelInferResponse(
        id=request_id,
        outputs=[ModelInferResponse.InferOutputTensor(name=tensor, datatype="BYTES", shape=[1])],
        raw_output_contents=[len(data).to_bytes(4, "little") + data],
    )


def failed_response(request_id: str, text: str, code: int) -> ModelInferResponse:
    """A request that failed alone."""
    return ModelInferResponse(
        id=request_id,
        parameters={
            "error": InferParameter(string_param=text),
            "error_code": InferParameter(int64_param=code),
        },
    )


def element(raw: bytes) -> bytes:
    """The one element of a raw BYTES tensor."""
    assert int.from_bytes(raw[:4], "little") == len(raw) - 4
    return raw[4:]


def in_sequence(handler: Handler) -> Handler:
    """Answer START and END as the service does; the handler has the requests between them."""

    def answer(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        ends = []

        def frames(first: Any) -> Iterator[Any]:
            for request in chain(first, requests):
                if request.parameters["sequence_end"].bool_param:
                    ends.append(request)
                    return
                yield request

        first = next(requests, None)
        if first is None:
            return
        if first.parameters["sequence_start"].bool_param:
            yield ModelInferResponse(id=first.id)
            yield from handler(frames([]), context)
        else:
            yield from handler(frames([first]), context)
        for request in ends:
            yield ModelInferResponse(id=request.id)

    return answer
