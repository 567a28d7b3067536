"""The load generator in a process of its own, on its own cores; and its clock, the same for every
protocol, so that every client is charged for what it costs."""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any, Self, TypeVar

import grpc
import uvloop

from ..contenders.process import Contender, ContenderError, cpu_seconds
from .samples import Sample, sample

Found = TypeVar("Found")
# Told of each message of an answer; what it may give back where it need not hear more of it.
Told = Callable[[bytes], Any]
ENOUGH = object()


def unheard(message: bytes) -> None:
    """Where nobody listens; a wire then need not cut what comes into messages."""


class AnswerError(ContenderError):
    """A server's answer is not what it should be; its speed is then nobody's concern."""


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

    def __exit__(self, *_: object) -> None:
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


class Tally:
    """Counts what the streams of one window receive."""

    def __init__(self, pid: int, seconds: float):
        """
        Args:
            pid: the server's process, whose use of CPU is counted too.
            seconds: how long streams may begin.
        """
        self.responses = self.received_bytes = 0
        self.first_seconds: list[float] = []
        self._pid, self._server = pid, cpu_seconds(pid)
        self._cpu, self._begun = time.process_time(), time.perf_counter()
        self._until = self._begun + seconds

    def is_open(self) -> bool:
        """Whether another stream may begin; one that has begun is always finished."""
        return time.perf_counter() < self._until

    def close(self) -> Sample:
        seconds, cpu = time.perf_counter() - self._begun, time.process_time() - self._cpu
        server = cpu_seconds(self._pid) - self._server
        return sample(self.responses, seconds, self.received_bytes, cpu, server, self.first_seconds)


@cache
def _runner() -> asyncio.Runner:
    """One loop for all windows: grpc.aio still has events for a loop that is closed."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def run(measure: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run one window.

    Raises:
        ContenderError: whatever went wrong, in words: other errors, gRPC's for one, may not
            survive the way back to the parent process.
    """

    async def main() -> Any:
        try:
            return await measure(*arguments)
        except ContenderError:
            raise
        except grpc.aio.AioRpcError as error:
            raise ContenderError(f"{error.code().name}: {error.details()}") from None
        except Exception as error:
            raise ContenderError(f"{type(error).__name__}: {error}") from None
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    return _runner().run(main())
