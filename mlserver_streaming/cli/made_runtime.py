"""Make a model's runtime as the service would, in a process of its own.

Whatever its import does, ends the process or hangs say, `check` goes on. The model is not loaded.

python -m mlserver_streaming.cli.made_runtime FOLDER [MODEL_SETTINGS_FILE]

prints a JSON object: `file`, where the class lies, or `error`, a sentence.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mlserver.settings import ModelSettings

from ..discovery import read_model_settings
from ..isolation import make_model
from ..load_failure import LoadFailure

# The slowest imports (large libraries, a cold disk) take a minute.
IMPORT_SECONDS = 180


class MadeRuntime(NamedTuple):
    """Where a runtime's class lies ("" for nowhere), or why it cannot be made."""

    file: str
    error: str | None = None


def make_runtimes(folder: Path, models: Sequence[ModelSettings]) -> list[MadeRuntime]:
    """One for each model, in their order; some at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(lambda model: _ask_process(folder, model), models))


def _ask_process(folder: Path, model: ModelSettings) -> MadeRuntime:
    command = [sys.executable, "-m", __name__, str(folder)]
    if model._source:
        command.append(model._source)
    failed = f"Model '{model.name}' cannot be loaded: making a {model.implementation_}"
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=IMPORT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return MadeRuntime("", f"{failed} takes more than {IMPORT_SECONDS} s.")
    try:
        return MadeRuntime(**json.loads(ended.stdout))
    except (ValueError, TypeError):
        return MadeRuntime("", f"{failed} ended its process {_how(ended)}.")


def _how(ended: subprocess.CompletedProcess[str]) -> str:
    if ended.returncode < 0:
        how = f"with {signal.Signals(-ended.returncode).name}"
    else:
        how = f"with status {ended.returncode}"
    last = ended.stderr.strip().splitlines()[-1:]
    return f"{how}: {last[0]}" if last else how


async def _make(folder: str, file: str | None) -> dict[str, str]:
    # In a loop, as the service does.
    settings = read_model_settings(file) if file else ModelSettings()
    try:
        made = type(make_model(settings))
    except Exception as error:
        return {"file": "", "error": LoadFailure.of(error, settings, folder).sentence}
    try:
        return {"file": inspect.getfile(made)}
    except (OSError, TypeError):
        return {"file": ""}


def main() -> None:
    # What a runtime prints is no answer.
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    folder, *file = sys.argv[1:]
    sys.path[:0] = [os.path.abspath(folder), "."]
    json.dump(asyncio.run(_make(folder, file[0] if file else None)), answer)
    answer.flush()
    # Threads that a library leaves behind would keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
