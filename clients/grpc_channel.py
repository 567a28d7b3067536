"""The gRPC channel to a server, and what its errors mean."""

from __future__ import annotations

import asyncio
import math
import os
from contextlib import suppress
from pathlib import Path

import grpc

from .errors import (
    ClientError,
    LostReasonError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from .server import Server
from .tls import Tls, hang_up_hint, read_pem, tls_error

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
    "RST_STREAM",
    "Stream removed",
    "Cancelling all calls",
)
# What gRPC calls a broken connection, and one that a proxy hung up.
_CUT_CODES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
)
# When a server that refuses wants to be asked again, in milliseconds; below 0 is never.
# https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
_PUSHBACK = "grpc-retry-pushback-ms"


def open_channel(server: Server) -> grpc.aio.Channel:
    """A channel; it connects at the first call.

    Raises TlsError when a file of the server's `tls` is no good.
    """
    # gRPC's core logs broken connections on stderr; the error that is raised says it in one line.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    options: list[tuple[str, int]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", int(server.may_use_proxy)),
    ]
    if server.tls is None:
        return grpc.aio.insecure_channel(server.address, options=options)
    credentials = channel_credentials(server.tls)
    return grpc.aio.secure_channel(server.address, credentials, options=options)


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """What gRPC makes of the files. Raises TlsError when one of them is no good."""
    # gRPC takes any files, and then fails without a reason.
    tls.context()
    return grpc.ssl_channel_credentials(
        root_certificates=_pem(tls.ca),
        private_key=_pem(tls.key or tls.certificate),
        certificate_chain=_pem(tls.certificate),
    )


def _pem(path: Path | None) -> bytes | None:
    return None if path is None else read_pem(path)


def call_error(error: BaseException, server: Server) -> ClientError:
    """Why a call ended, from the exception that grpc.aio raised."""
    address = server.address
    if isinstance(error, ClientError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return StreamCutError(f"the stream to {address} was cancelled")
    if not isinstance(error, grpc.aio.AioRpcError):
        return StreamCutError(f"the stream to {address} broke: {error}")
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE and any(text in details for text in _CONNECT_TEXTS):
        reason = details.rpartition("last error: ")[2]
        if (fault := tls_error(reason, address)) is not None:
            return fault
        hint = hang_up_hint(server.tls) if any(text in reason for text in _CUT_TEXTS) else ""
        return UnreachableError(f"nobody answers at {address}: {reason}{hint}")
    if code in _CUT_CODES and any(text in details for text in _CUT_TEXTS):
        return StreamCutError(f"the stream from {address} was cut before its end: {details}")
    if is_reason_lost(error):
        return LostReasonError(
            f"the server at {address} ended the call while a request was being sent, and gRPC "
            "lost its reason"
        )
    return RefusedError(details or "no reason given", code.name, _pushback(error))


def is_reason_lost(error: BaseException) -> bool:
    """Whether the call ended during a write, which then did not reach the server."""
    return (
        isinstance(error, grpc.aio.AioRpcError)
        and error.code() is grpc.StatusCode.INTERNAL
        and error.details() == _ENDED_IN_WRITE
    )


def _pushback(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds; None where the server says nothing of it."""
    for name, value in error.trailing_metadata() or ():
        if name == _PUSHBACK:
            with suppress(ValueError):
                wait = int(value) / 1000
                return wait if wait >= 0 else math.inf
    return None
