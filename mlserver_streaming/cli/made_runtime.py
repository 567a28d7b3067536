"""Make a model's runtime as the service would, in a process of its own.

Whatever its import does, ends the process or hangs say, `check` goes on. The model is not loaded.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, NamedTuple

from mlserver.settings import ModelSettings

from ..isolation import make_model
from ..load_failure import LoadFailure

# The slowest imports (large libraries, a cold disk) take a minute.
IMPORT_SECONDS = 180
# A copy of this process, which has MLServer already: importing that anew takes seconds each time.
FORK = multiprocessing.get_context("fork")


class MadeRuntime(NamedTuple):
    """Where a runtime's class lies ("" for nowhere), or why it cannot be made."""

    file: str
    error: str | None = None


def make_runtimes(folder: Path, models: Sequence[ModelSettings]) -> list[MadeRuntime]:
    """One for each model, in their order."""
    return [_ask_process(folder, model) for model in models]


def _ask_process(folder: Path, model: ModelSettings) -> MadeRuntime:
    answer, to_answer = FORK.Pipe(duplex=False)
    with answer, tempfile.TemporaryFile() as said:
        process = FORK.Process(target=_make, args=(folder, model, to_answer, said))
        process.start()
        to_answer.close()
        runtime = f"Model '{model.name}' cannot be loaded: its runtime {model.implementation_}"
        try:
            if answer.poll(IMPORT_SECONDS):
                made: MadeRuntime = answer.recv()
                return made
            return MadeRuntime("", f"{runtime} takes more than {IMPORT_SECONDS} s to import.")
        except EOFError:
            process.join()
            return MadeRuntime("", f"{runtime} ends the process {_how(process.exitcode, said)}.")
        finally:
            process.kill()
            process.join()
            process.close()


def _make(folder: Path, model: ModelSettings, answer: Connection, said: IO[bytes]) -> None:
    # What a runtime prints is of interest only where it is its last word.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(said.fileno(), stream.fileno())
    answer.send(asyncio.run(_made(folder, model)))
    # Threads that a library leaves behind would keep the process.
    os._exit(0)


async def _made(folder: Path, model: ModelSettings) -> MadeRuntime:
    # In a loop, as the service does.
    try:
        runtime = type(make_model(model))
    except Exception as error:
        return MadeRuntime("", LoadFailure.of(error, model, str(folder)).sentence)
    try:
        return MadeRuntime(inspect.getfile(runtime))
    except (OSError, TypeError):
        return MadeRuntime("")


def _how(status: int | None, said: IO[bytes]) -> str:
    if status is not None and status < 0:
        how = f"with {signal.Signals(-status).name}"
    else:
        how = f"with status {status}"
    said.seek(0)
    last = said.read().decode(errors="replace").strip().splitlines()[-1:]
    return f"{how}: {last[0]}" if last else how
