"""Puts a run's tables and plots where the README shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..contenders.contenders import HERE, ROOT
from ..rows.rows import AnyRow
from .overview import short, tally
from .plots import draw

IMAGES = ROOT / "docs" / "images"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"


class MarkerError(ValueError):
    """A file has no place for the results."""


def publish(
    rows: Sequence[AnyRow], machine: Mapping[str, str], how: str, table: str, root: Path = ROOT
) -> None:
    """Draw the plots and renew the README's and benchmarks/README.md's results.

    Args:
        table: the whole report.
    """
    draw(rows, machine, root / IMAGES.relative_to(ROOT))
    replace(root / "README.md", summary(rows, machine, how))
    body = table.partition("\n")[2].strip()  # without its heading
    replace(root / HERE.relative_to(ROOT) / "README.md", body.splitlines())


def summary(rows: Sequence[AnyRow], machine: Mapping[str, str], how: str) -> list[str]:
    """What the README shows; the targets stand in benchmarks/README.md only."""
    return [
        *short(rows),
        "",
        f"{machine['date']}; {machine['machine']}; mlserver {machine['mlserver']}; {how}. "
        f"{tally(rows)}; each, and every row: "
        "[benchmarks/README.md](benchmarks/README.md#targets).",
    ]


def replace(file: Path, lines: Sequence[str]) -> None:
    """Put lines between a file's markers.

    Raises:
        MarkerError: it has none.
    """
    text = file.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise MarkerError(f"{file.name} has no lines {BEGIN!r} and {END!r}")
    file.write_text("\n".join([f"{head}{BEGIN}", "", *lines, "", f"{END}{tail}"]))
