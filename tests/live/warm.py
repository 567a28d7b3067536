"""Services that are forked with MLServer imported already: that is most of a start.

They run what the command `mlserver` runs, in a process of their own. Tests of the command itself,
of what only a new interpreter reads, and of what is left behind take Service, which starts the
command.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from tests.forked import ForkedProcess
from tests.live.service import Service


class WarmService(Service):
    """`mlserver start FOLDER`, started in a fraction of the time."""

    def launch(self) -> Any:
        process = ForkedProcess(
            target=_run, args=(self.command, self.folder, self.environment, self.log)
        )
        process.start()
        return process


def _run(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> None:
    """Become the command, in the forked process."""
    os.setsid()
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    # Not pytest's: the script's folder, PYTHONPATH, and where Python and its packages are.
    own = [each for each in sys.path if each.startswith((sys.base_prefix, sys.prefix))]
    sys.path[:] = [os.path.dirname(command[0]), *environment["PYTHONPATH"].split(os.pathsep), *own]
    threading.Thread(target=_end_with_pytest, daemon=True).start()
    from mlserver.cli import main

    try:
        main()
    finally:
        # multiprocessing leaves without these.
        atexit._run_exitfuncs()


def _end_with_pytest() -> None:
    """Tests that are broken off leave no service behind."""
    if pytest := parent_process():
        pytest.join()
        os.kill(os.getpid(), signal.SIGTERM)
