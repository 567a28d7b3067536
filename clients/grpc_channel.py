"""The gRPC channel to a server, and what its errors mean."""

from __future__ import annotations

import asyncio
import os

import grpc

from clients.address import is_loopback, join_address
from clients.errors import ClientError, RefusedError, StreamCutError, UnreachableError

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

# UNAVAILABLE is what a server answers when it is not ready, and what gRPC itself reports of a
# broken network; only the text tells them apart.
_CONNECT_TEXTS = ("failed to connect", "resolution", "resolver")
# grpc.aio's own words when a call ends during a write; the server's reason is lost then.
_ENDED_IN_WRITE = "Internal error from Core"
_CUT_TEXTS = (
    "Socket closed",
    "Connection reset",
    "Broken pipe",
    "GOAWAY",
    "Stream removed",
    "Cancelling all calls",
)


def open_channel(host: str, port: int) -> grpc.aio.Channel:
    """A channel without TLS; it connects at the first call."""
    # gRPC's core logs broken connections on stderr; the error that is raised says it in one line.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    options: list[tuple[str, int]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0 if is_loopback(host) else 1),
    ]
    return grpc.aio.insecure_channel(join_address(host, port), options=options)


def call_error(error: BaseException, address: str) -> ClientError:
    """Why a call ended, from the exception that grpc.aio raised."""
    if isinstance(error, ClientError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return StreamCutError(f"the stream to {address} was cancelled")
    if not isinstance(error, grpc.aio.AioRpcError):
        return StreamCutError(f"the stream to {address} broke: {error}")
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        if any(text in details for text in _CONNECT_TEXTS):
            reason = details.rpartition("last error: ")[2]
            return UnreachableError(f"nobody answers at {address}: {reason}")
        if any(text in details for text in _CUT_TEXTS):
            return StreamCutError(f"the stream from {address} was cut before its end: {details}")
    if code is grpc.StatusCode.INTERNAL and details == _ENDED_IN_WRITE:
        return StreamCutError(f"the stream to {address} was cut in the middle of a request")
    return RefusedError(details or "no reason given", code.name)
