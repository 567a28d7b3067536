"""Rows as a Markdown table for people and as JSON for programs."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..contenders.contender_settings import settings_table
from ..loads.samples import Ratio, Spread, spreads
from ..rows.rows import AnyRow, PacedRow, Row
from . import paced_table
from .overview import overview, tally, targets, verdict

# Heading of a column: the figure that it shows, and how.
COLUMNS = {
    "/s": ("responses_per_second", "{:,.0f}"),
    "first p50 ms": ("first_response_p50_ms", "{:.2f}"),
    "first p99 ms": ("first_response_p99_ms", "{:.2f}"),
    "server CPU": ("server_cpu_percent", "{:.0f} %"),
    "server µs": ("server_cpu_us_per_response", "{:,.1f}"),
    "faults": ("faults_per_response", "{:.1f}"),
    "bytes": ("bytes_per_response", "{:,.0f}"),
    "MB/s": ("megabytes_per_second", "{:,.1f}"),
    "client CPU": ("client_cpu_percent", "{:.0f} %"),
}
FIGURE_NAMES = {figure: heading for heading, (figure, _) in COLUMNS.items()} | {
    "responses_per_cpu_second": "/s of server CPU",
    "first_later_ms": "first p50 ms, difference",
    "most": "how many",
}


def markdown(rows: Iterable[AnyRow], machine: Mapping[str, str], how: str) -> str:
    """The whole report.

    Args:
        how: rounds and seconds, in words.
    """
    lines = ["# Benchmarks", "", f"{machine['date']}; {machine['machine']}; {how}.", ""]
    versions = [f"{name} {value}" for name, value in machine.items()]
    lines += ["; ".join(versions[2:]) + ".", ""]
    lines += [
        "Medians; in brackets the lowest and the highest round. `server µs`, `faults` and "
        "`bytes` are for each response: the server's CPU time, its page faults, what came over "
        "the wire.",
        "",
        "A pinned server far below 100 % CPU had to share its core, or waited for its client; the "
        "ratio of CPU times (`server µs`) then says more than that of the rates.",
    ]
    rows = list(rows)
    lines += ["", "## At a glance", "", *overview(rows)]
    lines += ["", "## Contenders", "", *settings_table(machine)]
    lines += ["", "## Targets", "", f"{tally(rows)}.", "", *targets(rows)]
    for row in rows:
        if isinstance(row, PacedRow):
            lines += ["", f"## {row.title}", "", _paced_words(row), "", *_paced_contenders(row)]
        else:
            lines += ["", f"## {row.title}", "", f"A response is one {row.unit}; {row.cores}.", ""]
            lines += _contenders(row)
        lines += ["", "| ratio | of | median | rounds | target |", "|---|---|---|---|---|"]
        lines += [_ratio(each) for each in row.ratios]
    return "\n".join(lines) + "\n"


def _contenders(row: Row) -> list[str]:
    lines = [
        "| contender | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name, samples in row.samples.items():
        found = spreads(samples)
        cells = [_cell(found.get(figure), form) for figure, form in COLUMNS.values()]
        rate = found["responses_per_second"]
        cells[0] += f" ({rate.low:,.0f}-{rate.high:,.0f})"
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name, why in row.absent.items():
        lines.append(f"| {name} | not measured: {why} |" + " |" * (len(COLUMNS) - 1))
    return lines


def _paced_words(row: PacedRow) -> str:
    return (
        f"How many {row.unit}s fit before p99 lateness passes {1e3 * row.limit:g} ms, to within a "
        f"tenth; {row.cores}. The other columns are of the run with so many."
    )


def _paced_contenders(row: PacedRow) -> list[str]:
    lines = [f"| contender | {row.unit}s | " + " | ".join(paced_table.COLUMNS[1:]) + " |"]
    lines.append("|---|" + "---:|" * len(paced_table.COLUMNS))
    blanks = " |" * (len(paced_table.COLUMNS) - 1)
    for name, found in row.found.items():
        cells = paced_table.cells(found.at_most)[1:] if found.at_most else []
        rest = "".join(f" {cell} |" for cell in cells) or blanks
        lines.append(f"| {name} | **{found.most}** |{rest}")
    lines += [f"| {name} | not measured: {why} |{blanks}" for name, why in row.absent.items()]
    return lines


def _cell(spread: Spread | None, form: str) -> str:
    return form.format(spread.median) if spread is not None else ""


def _ratio(ratio: Ratio) -> str:
    spread, figure = ratio.spread, FIGURE_NAMES.get(ratio.figure, ratio.figure)
    return (
        f"| {ratio.of} / {ratio.over} | {figure} | **{spread.median:.2f}** "
        f"| {spread.low:.2f}-{spread.high:.2f} | {ratio.target} {verdict(ratio)} |"
    )


def as_json(row: AnyRow, machine: Mapping[str, str]) -> str:
    """One row, every round of it."""
    found: dict[str, Any] = {"title": row.title, "unit": row.unit, "cores": row.cores}
    found["machine"] = dict(machine)
    if isinstance(row, PacedRow):
        found["limit_seconds"] = row.limit
        found["contenders"] = {
            name: {"most": each.most, "runs": [asdict(run) for run in each.runs]}
            for name, each in row.found.items()
        }
    else:
        found["contenders"] = {
            name: {
                "medians": {figure: each.median for figure, each in spreads(samples).items()},
                "rounds": [sample.figures() for sample in samples],
            }
            for name, samples in row.samples.items()
        }
    found["ratios"] = [asdict(each) for each in row.ratios]
    found["not measured"] = dict(row.absent)
    return json.dumps(found, indent=1) + "\n"


def write(rows: Iterable[AnyRow], machine: Mapping[str, str], how: str, folder: Path) -> str:
    """Write `table.md` and a JSON file a row; the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    for row in rows:
        name = "-".join(re.sub(r"[^a-z0-9]+", " ", row.title.lower()).split())
        (folder / f"{name}.json").write_text(as_json(row, machine))
    table = markdown(rows, machine, how)
    (folder / "table.md").write_text(table)
    return table
