"""Contenders that are started together; a peer that will not start is named."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from .peer_servers import Start
from .process import Contender, ContenderError

MAX_REASON = 160


@contextmanager
def started(
    starts: Mapping[str, Start], folder: Path, cores: set[int], needed: str
) -> Iterator[tuple[dict[str, Contender], dict[str, str]]]:
    """Start all at once, each with a folder of its own; and stop them so.

    Args:
        needed: the one without which there is nothing to measure.

    Yields:
        the running ones, and why others do not run.

    Raises:
        ContenderError: the needed one does not run.
    """
    running: dict[str, Contender] = {}
    absent: dict[str, ContenderError] = {}

    def start(name: str) -> None:
        try:
            running[name] = starts[name](folder_of(folder, name), cores).start()
        except ContenderError as error:
            absent[name] = error

    with ThreadPoolExecutor(len(starts) or 1) as pool:
        try:
            list(pool.map(start, starts))
            if needed in absent:
                raise absent[needed]
            yield running, {name: reason(error) for name, error in absent.items()}
        finally:
            list(pool.map(Contender.stop, running.values()))


def folder_of(place: Path, title: str) -> Path:
    """A folder of its own for what has this title."""
    return place / "".join(c if c.isalnum() else "-" for c in title)


def reason(error: ContenderError) -> str:
    """What an error says, on one line of a table: where it quotes a log, the log's last line."""
    first, *log = [line.strip() for line in str(error).splitlines() if line.strip()] or ["?"]
    text = f"{first} {log[-1]}" if log else first
    return text[:MAX_REASON].replace("|", "/")
