"""The contenders of a row, started together; a peer that will not start is named."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .peer_servers import Start
from .process import Contender, ContenderError

MAX_REASON = 160


@contextmanager
def started(
    starts: Mapping[str, Start], folder: Path, cores: set[int], needed: str
) -> Iterator[tuple[dict[str, Contender], dict[str, str]]]:
    """Start all at once.

    Args:
        starts: makes each contender from a folder of its own and its cores.
        needed: the one without which there is nothing to measure.

    Yields:
        the running ones, and why others do not run.

    Raises:
        ContenderError: the needed one does not run.
    """
    entered: list[Contender] = []

    def start(name: str) -> Contender | ContenderError:
        own = folder / "".join(c if c.isalnum() else "-" for c in name)
        try:
            contender = starts[name](own, cores).__enter__()
        except ContenderError as error:
            return error
        entered.append(contender)
        return contender

    def stop(contender: Contender) -> None:
        contender.__exit__(None, None, None)

    with ThreadPoolExecutor(len(starts) or 1) as pool, ExitStack() as stack:
        # All at once too: each takes its seconds.
        stack.callback(lambda: list(pool.map(stop, entered)))
        found = dict(zip(starts, pool.map(start, starts), strict=True))
        running, absent = {}, {}
        for name, each in found.items():
            if not isinstance(each, ContenderError):
                running[name] = each
            elif name == needed:
                raise each
            else:
                absent[name] = reason(each)
        yield running, absent


def reason(error: ContenderError) -> str:
    """What an error says, on one line of a table: where it quotes a log, the log's last line."""
    first, *log = [line.strip() for line in str(error).splitlines() if line.strip()] or ["?"]
    text = f"{first} {log[-1]}" if log else first
    return text[:MAX_REASON].replace("|", "/")
