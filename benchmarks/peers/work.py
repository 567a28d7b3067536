"""What all contenders but ours do, in whichever environment: with Python's standard library, numpy
and cv2 only."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import cv2
import numpy as np

QUALITY = 95


def words(prompt: str) -> Iterator[str]:
    """Every word but the first with the space before it."""
    for index, word in enumerate(prompt.split(" ")):
        yield f" {word}" if index else word


async def ticks(prompt: str) -> AsyncIterator[str]:
    """Tokens on time: "RATE COUNT" in, COUNT tokens out, RATE of them a second.

    By the clock, not by sleeps of the same length: what a server adds to one token must not make
    all later ones late.
    """
    begun = time.perf_counter()
    rate, count = prompt.split()
    for index in range(int(count)):
        await asyncio.sleep(max(0, begun + index / float(rate) - time.perf_counter()))
        yield " token"


def event(word: str) -> str:
    """A word as a flat server-sent event."""
    return "data: " + json.dumps({"output": word}, separators=(",", ":")) + "\n\n"


def recoded(jpeg: bytes) -> bytes:
    """A frame decoded and encoded again."""
    cv2.setNumThreads(1)
    image: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def ends(elements: Any) -> Any:
    """A large tensor's first, middle and last element."""
    flat = elements.reshape(-1)
    return flat[[0, flat.size // 2, -1]]
