"""The load generator in a process of its own, on its own cores."""

import multiprocessing
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from ..contenders.process import Contender
from .load_window import run

Found = TypeVar("Found")


class LoadProcess:
    """One client process for a whole row: every contender meets the same one.

    Spawned, not forked: gRPC's threads do not survive a fork.
    """

    def __init__(self, cores: set[int]):
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=os.sched_setaffinity,
            initargs=(0, cores),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def measure(
        self, contender: Contender, load: Callable[..., Awaitable[Found]], *arguments: Any
    ) -> Found:
        """Put one window's load on a contender.

        Args:
            load: a module's function, called there with the contender's Target and `arguments`.
        """
        found: Found = self._pool.submit(run, load, contender.target, *arguments).result()
        return found
