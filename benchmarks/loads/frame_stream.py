"""Frames through one gRPC stream: how many a second, and how long one takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

import cv2
import grpc
import numpy as np
from mlserver.grpc import dataplane_pb2 as pb

from clients.grpc_messages import bytes_request, raw_request

from .grpc_load import OPTIONS, STREAM, read
from .load_window import AnswerError


def jpeg_request(model: str, jpeg: bytes) -> bytes:
    """A frame as JPEG."""
    return bytes_request(jpeg, model=model, request_id="", tensor="image").SerializeToString()


def tensor_request(model: str, image: np.ndarray, side: int = 640) -> bytes:
    """A frame as a UINT8 tensor [1, 3, side, side], RGB."""
    small = cv2.resize(image, (side, side))
    tensor = np.ascontiguousarray(small[:, :, ::-1].transpose(2, 0, 1))
    return raw_request(
        tensor.tobytes(),
        datatype="UINT8",
        shape=[1, 3, side, side],
        model=model,
        request_id="",
        tensor="images",
    ).SerializeToString()


def drive(port: int, requests: Sequence[bytes], in_flight: int, seconds: float) -> float:
    """Frames a second of one stream. Raises AnswerError where an answer is none."""

    async def go(call: Any) -> float:
        sent = received = 0
        # Warm: the model has seen frames, buffers have their size.
        for _ in range(in_flight + 4):
            await call.write(requests[sent % len(requests)])
            sent += 1
            if sent > in_flight:
                _check(await read(call))
                received += 1
        begun, before = time.perf_counter(), received
        while time.perf_counter() < begun + seconds:
            _check(await read(call))
            received += 1
            await call.write(requests[sent % len(requests)])
            sent += 1
        rate = (received - before) / (time.perf_counter() - begun)
        while received < sent:
            _check(await read(call))
            received += 1
        return rate

    return asyncio.run(_on_stream(port, go))


def latency(port: int, requests: Sequence[bytes], seconds: float) -> float:
    """The median time of a frame, one at a time, in seconds. Raises AnswerError likewise."""

    async def go(call: Any) -> float:
        times: list[float] = []
        begun = time.perf_counter()
        while time.perf_counter() < begun + seconds:
            at = time.perf_counter()
            await call.write(requests[len(times) % len(requests)])
            _check(await read(call))
            times.append(time.perf_counter() - at)
        return median(times)

    return asyncio.run(_on_stream(port, go))


async def _on_stream(port: int, go: Callable[[Any], Awaitable[float]]) -> float:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        call: Any = channel.stream_stream(STREAM)()
        found = await go(call)
        await call.done_writing()
        return found


def _check(answer: bytes) -> None:
    """End the benchmark where an answer is none: a fast failure is no result."""
    response = pb.ModelInferResponse.FromString(answer)
    if not response.outputs:
        raise AnswerError(f"a frame failed: {response}")
