"""What `check` says: sections of lines, notes, and problems at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

GAP = "  "


@dataclass
class Report:
    """
    Attributes:
        sections: each a heading and its rows; the cells of its rows stand below one another.
        notes: what is no fault, but may surprise; a sentence each.
        problems: what would not work; each one line that says what to do.
    """

    sections: list[tuple[str, Sequence[Sequence[str]]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def section(self, heading: str, rows: Sequence[Sequence[str]]) -> None:
        self.sections.append((heading, rows))

    def lines(self) -> Iterator[str]:
        for heading, rows in self.sections:
            yield heading
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            for row in rows:
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                yield (GAP + GAP.join(cells)).rstrip()
        if self.notes:
            yield "Notes"
            yield from (f"{GAP}{note}" for note in self.notes)
        if not self.problems:
            yield "Nothing is wrong."
            return
        yield "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        yield from (f"{GAP}{problem}" for problem in self.problems)
