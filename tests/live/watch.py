"""See what the `probe` model did: it writes its steps into a file."""

import asyncio
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20  # seconds, far above what anything here takes


def steps(path: Path) -> int:
    """How many steps the probe has taken."""
    return path.read_text().count("step") if path.exists() else 0


def closed(path: Path) -> bool:
    """Whether the probe's generator has been closed."""
    return path.exists() and "closed" in path.read_text()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        # Polled: the condition lies in another process.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
