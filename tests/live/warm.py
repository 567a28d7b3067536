"""Services forked from a process that has imported MLServer already: that is most of a start.

They run what the command `mlserver` runs, in a process of their own. Tests of the command itself,
of what only a new interpreter reads, and of what is left behind take Service, which starts the
command.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from tests.live.service import Service

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["mlserver.cli.main"])


class WarmService(Service):
    """`mlserver start FOLDER`, started in a fraction of the time."""

    def launch(self) -> Any:
        process = ForkedProcess(target=_run, args=(self.folder, self.environment, self.log))
        process.start()
        return process


class ForkedProcess(_CONTEXT.Process):  # type: ignore[name-defined,misc]
    """What tests ask of a subprocess.Popen."""

    @property
    def returncode(self) -> int | None:
        return self.exitcode

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.join(timeout)
        if self.exitcode is None:
            raise TimeoutExpired("mlserver", timeout or 0)
        return self.exitcode

    def send_signal(self, number: int) -> None:
        if self.exitcode is None:
            os.kill(self.pid, number)


def _run(folder: Path, environment: dict[str, str], log: Path) -> None:
    """Become the command, in the forked process."""
    os.setsid()
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    command = Path(sys.executable).with_name("mlserver")
    sys.argv = [str(command), "start", "."]
    # Not pytest's: the script's folder, PYTHONPATH, and where Python and its packages are.
    own = [each for each in sys.path if each.startswith((sys.base_prefix, sys.prefix))]
    sys.path[:] = [str(command.parent), *environment["PYTHONPATH"].split(os.pathsep), *own]
    from mlserver.cli import main

    try:
        main()
    finally:
        # multiprocessing leaves without these.
        atexit._run_exitfuncs()
