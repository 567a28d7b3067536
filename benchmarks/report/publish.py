"""Puts the results' tables and plots where the READMEs show them."""

from collections.abc import Sequence
from pathlib import Path

from ..contenders.contenders import HERE, ROOT
from . import report
from .plots import draw
from .results import read

BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"


def publish(results: Path, root: Path = ROOT) -> None:
    """Draw the plots, write `table.md`, and renew the README's and benchmarks/README.md's results,
    of all the rows whose files are there."""
    found = read(results)
    (results / "table.md").write_text(report.table(found))
    draw(found, root / "docs" / "images")
    replace(root / "README.md", report.short(found))
    replace(root / HERE.relative_to(ROOT) / "README.md", report.page(found))


def replace(file: Path, lines: Sequence[str]) -> None:
    """Put lines between a file's markers.

    Raises:
        ValueError: it has none.
    """
    text = file.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file.name} has no lines {BEGIN!r} and {END!r}")
    file.write_text("\n".join([f"{head}{BEGIN}", "", *lines, "", f"{END}{tail}"]))


if __name__ == "__main__":
    publish(HERE / "results")
