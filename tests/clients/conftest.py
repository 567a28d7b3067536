"""Servers with canned answers, on free ports of this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from mlserver.grpc.dataplane_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from clients.grpc_channel import MAX_MESSAGE_BYTES
from tests.clients.responses import Handler, in_sequence


class _Servicer(GRPCInferenceServiceServicer):
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def ModelStreamInfer(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        return self._handler(requests, context)

    def ModelInfer(self, request: Any, context: Any) -> Any:
        return next(self._handler(iter([request]), context))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried soon."""
    monkeypatch.setattr("clients.retries.FIRST_PAUSE_S", 0.001)


@pytest.fixture
def serve_grpc() -> Iterator[Callable[[Handler], int]]:
    """Start a gRPC server that answers every stream with a handler; returns its port."""
    servers = []

    def start(handler: Handler) -> int:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        server = grpc.server(ThreadPoolExecutor(max_workers=4), options=options)
        add_GRPCInferenceServiceServicer_to_server(_Servicer(handler), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return port

    yield start
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def serve_frames(serve_grpc: Callable[[Handler], int]) -> Callable[[Handler], int]:
    """Like serve_grpc, but the handler sees only frames: START and END are answered for it."""
    return lambda handler: serve_grpc(in_sequence(handler))


@pytest.fixture
def serve_bytes() -> Iterator[Callable[[bytes], int]]:
    """Start a server that reads one HTTP request, answers these bytes and hangs up."""
    threads = []

    def start(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            with listener, listener.accept()[0] as connection:
                connection.settimeout(5)
                received = connection.recv(65536)
                if b"\r\n\r\n{" not in received:
                    connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(5)


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
