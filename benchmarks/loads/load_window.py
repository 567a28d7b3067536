"""The load generator's clock: the same for every protocol, so that every client costs the same
and is charged for what it costs."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop

from ..contenders.process import ContenderError, usage
from .samples import Sample


class AnswerError(ContenderError):
    """A server's answer is not what it should be; its speed is then nobody's concern."""


class Tally:
    """Counts what the streams of one window receive."""

    def __init__(self, pid: int, seconds: float):
        """
        Args:
            pid: the server's process, whose use of CPU and memory is counted too.
            seconds: how long streams may begin.
        """
        self.responses = 0
        self.received_bytes = 0
        self.first_seconds: list[float] = []
        self._pid = pid
        self._server = usage(pid)
        self._cpu = time.process_time()
        self._begun = time.perf_counter()
        self._until = self._begun + seconds

    def is_open(self) -> bool:
        """Whether another stream may begin; one that has begun is always finished."""
        return time.perf_counter() < self._until

    def close(self) -> Sample:
        return Sample(
            self.responses,
            time.perf_counter() - self._begun,
            self.received_bytes,
            time.process_time() - self._cpu,
            usage(self._pid).since(self._server),
            tuple(self.first_seconds),
        )


def run(measure: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run one window in an event loop of its own.

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

    return uvloop.run(main())
