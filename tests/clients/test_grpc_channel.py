import asyncio

import grpc
import pytest

from clients.errors import (
    LostReasonError,
    RefusedError,
    SourceError,
    StreamCutError,
    TlsError,
    UnreachableError,
)
from clients.grpc_channel import call_error
from clients.server import Server


def rpc_error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (
            rpc_error(
                UNAVAILABLE,
                "failed to connect to all addresses; last error: Connection refused",
            ),
            UnreachableError,
            "nobody answers at h:1: Connection refused",
        ),
        (
            rpc_error(UNAVAILABLE, "failed to connect to all addresses; last error: Socket closed"),
            UnreachableError,
            "Socket closed; if it speaks TLS, pass --tls",
        ),
        (
            rpc_error(UNAVAILABLE, "failed to connect; last error: CERTIFICATE_VERIFY_FAILED: OK"),
            TlsError,
            "the certificate of h:1 is not trusted",
        ),
        (rpc_error(UNAVAILABLE, "DNS resolution failed for h"), UnreachableError, "DNS"),
        (rpc_error(UNAVAILABLE, "Stream removed (Socket closed)"), StreamCutError, "was cut"),
        (rpc_error(UNAVAILABLE, "the model loads"), RefusedError, "UNAVAILABLE: the model loads"),
        (
            rpc_error(grpc.StatusCode.INTERNAL, "Internal error from Core"),
            LostReasonError,
            "the server at h:1 ended the call while a request was being sent, and gRPC lost its",
        ),
        (rpc_error(grpc.StatusCode.UNKNOWN, "Stream removed"), StreamCutError, "was cut"),
        (
            rpc_error(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
            StreamCutError,
            "was cut",
        ),
        (rpc_error(UNAVAILABLE, "GOAWAY received"), StreamCutError, "was cut"),
        (rpc_error(grpc.StatusCode.UNKNOWN, "odd"), RefusedError, "UNKNOWN: odd"),
        (rpc_error(grpc.StatusCode.NOT_FOUND, ""), RefusedError, "NOT_FOUND: no reason given"),
        (asyncio.CancelledError(), StreamCutError, "cancelled"),
        (ValueError("odd"), StreamCutError, "odd"),
        (SourceError("mine"), SourceError, "^mine$"),
    ],
)
def test_what_an_error_means(error, expected, text):
    translated = call_error(error, Server("h", 1))
    assert type(translated) is expected
    with pytest.raises(expected, match=text):
        raise translated
