"""The processes of a running service, as the machine sees them."""

from __future__ import annotations

from pathlib import Path

from tests.live.service import Service


def children(pid: int) -> dict[int, bytes]:
    """The command lines of a process's children that still run."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            command = stat.with_name("cmdline").read_bytes()
        except OSError:
            continue  # it has just ended
        if int(parent) == pid and state != "Z":
            found[int(stat.parent.name)] = command
    return found


def workers(service: Service) -> set[int]:
    """The service's worker processes."""
    return {
        pid for pid, command in children(service.process.pid).items() if b"spawn_main" in command
    }


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
