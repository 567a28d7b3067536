"""Where the processes of one run of the service write their metrics, for its endpoint to add up.

prometheus_client adds up all files that it finds in a folder; those of an earlier run, or of
another service in the same place, are not this one's.
https://prometheus.github.io/client_python/multiprocess/
"""

import atexit
import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path

PREFIX = "run-"
LOCK = "lock"


def open_run(folder: str) -> str:
    """A folder of this run's own in `folder`, removed at exit; those of runs that ended otherwise
    are removed now.

    Raises:
        SystemExit: `folder` cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        found = tempfile.mkdtemp(prefix=PREFIX, dir=folder)
        _lock(Path(found))
    except OSError as error:
        sys.exit(
            f"Worker processes need a folder for their metrics, and {folder} cannot be written "
            f"({error.strerror}); name another as metrics_dir."
        )
    atexit.register(shutil.rmtree, found, ignore_errors=True)
    for other in Path(folder).glob(f"{PREFIX}*"):
        if other != Path(found) and _is_abandoned(other):
            shutil.rmtree(other, ignore_errors=True)
    return found


def _lock(run: Path) -> int:
    """Hold the run's lock until this process ends, however that comes."""
    lock = os.open(run / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _is_abandoned(run: Path) -> bool:
    try:
        os.close(_lock(run))
    except OSError:
        return False
    return True
