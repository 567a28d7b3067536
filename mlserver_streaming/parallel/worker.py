"""A worker process: MLServer's, with our loop in it."""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from mlserver.env import Environment
from mlserver.parallel.worker import IGNORED_SIGNALS, Worker
from mlserver.settings import Settings

from ..settings import StreamingSettings
from ..watch import stream_log
from .heartbeat import beat
from .session import Session


class StreamingWorker(Worker):
    """A process that answers over a socket. MLServer's queues are not used: the one for answers is
    shared, and a worker that is killed while it holds that one's lock would silence the others."""

    def __init__(
        self, settings: Settings, end: socket.socket, beats: Connection, env: Environment | None
    ):
        """
        Args:
            end: the worker's; the process gets it when it is started.
            beats: where it shows that it runs, likewise.
            env: the Python environment that it runs in, None for this one.
        """
        multiprocessing.Process.__init__(self)
        self._settings = settings
        self._socket = end
        self._beats = beats
        self._env = env

    async def coro_run(self) -> None:
        stream_log.configure(self._settings)
        self._socket.set_inheritable(False)
        follow_the_service()
        root = self._settings.model_repository_root
        streaming = StreamingSettings.read(root)
        if (seconds := streaming.workers.heartbeat_seconds) is not None:
            beat(self._beats, seconds)
        await Session(self._socket, streaming.limits, root).run()

    def _ignore_signals(self) -> None:
        """The service decides when a worker ends, also where a terminal tells both."""
        for number in IGNORED_SIGNALS:
            # Not SIG_IGN, which the processes that a model starts would inherit.
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """A process that is started in here gets none of them before it has decided to ignore them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)


def follow_the_service() -> None:
    """End with the service, also where a model holds up the event loop."""
    service: BaseProcess | None = multiprocessing.parent_process()
    if service is None:
        return

    def follow() -> None:
        service.join()
        os._exit(1)

    threading.Thread(target=follow, name="follow the service", daemon=True).start()
