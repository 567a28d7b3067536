"""gRPC responses as the service sends them."""

from __future__ import annotations

from mlserver.grpc.dataplane_pb2 import InferParameter, ModelInferResponse


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
