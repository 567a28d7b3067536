"""Runs of paced streams as a table."""

from collections.abc import Callable, Sequence

from ..loads.pace import Paced


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:,.1f}"


COLUMNS: dict[str, Callable[[Paced], str]] = {
    "streams": lambda run: f"{run.streams}",
    "answered": lambda run: f"{run.answered:,}",
    "rate/s": lambda run: f"{run.answered / run.seconds:,.0f}",
    "missing": lambda run: f"{run.missing:,}",
    "late p50 ms": lambda run: _ms(run.late_p50),
    "late p99 ms": lambda run: _ms(run.late_p99),
    "late max ms": lambda run: _ms(run.late_max),
    "first p50 ms": lambda run: _ms(run.first_p50),
    "first p99 ms": lambda run: _ms(run.first_p99),
    "client late p99 ms": lambda run: _ms(run.sent_late_p99),
    "client CPU": lambda run: f"{run.client_cpu:.0%}",
}


def as_table(runs: Sequence[Paced]) -> str:
    """Markdown, a line a run, and below it each error and how often it came."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---:|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cell(run) for cell in COLUMNS.values()) + " |" for run in runs]
    for run in runs:
        lines += [
            f"{count} error{'s' if count > 1 else ''} at {run.streams} streams: {text}"
            for text, count in run.errors.items()
        ]
    return "\n".join(lines)
