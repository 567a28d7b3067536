"""Processes forked from one that has imported MLServer already: to import it takes seconds."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerProcess
from subprocess import TimeoutExpired

multiprocessing.get_context("forkserver").set_forkserver_preload(["mlserver.cli.main"])


class ForkedProcess(ForkServerProcess):
    """Calls `target(*args)`, which a module must have; waited for as a subprocess.Popen is."""

    @property
    def returncode(self) -> int | None:
        return self.exitcode

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.join(timeout)
        if self.exitcode is None:
            raise TimeoutExpired(self.name, timeout or 0)
        return self.exitcode

    def send_signal(self, number: int) -> None:
        if self.pid is not None and self.exitcode is None:
            os.kill(self.pid, number)
