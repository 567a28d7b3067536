"""Runs of paced streams as a table."""

from collections.abc import Iterable

from ..loads.pace import Paced

COLUMNS = (
    *("streams", "answered", "rate/s", "missing", "late p50 ms", "late p99 ms", "late max ms"),
    *("first p50 ms", "first p99 ms", "client late p99 ms", "client CPU"),
)


def as_table(runs: Iterable[Paced]) -> str:
    """Markdown, a line a run, and below it each error and how often it came."""
    runs = list(runs)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---:|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(run)) + " |" for run in runs]
    for run in runs:
        lines += [
            f"{count} error{'s' if count > 1 else ''} at {run.streams} streams: {text}"
            for text, count in run.errors.items()
        ]
    return "\n".join(lines)


def cells(run: Paced) -> list[str]:
    """One line's."""
    return [
        f"{run.streams}",
        f"{run.answered:,}",
        f"{run.answered / run.seconds:,.0f}",
        f"{run.missing:,}",
        _ms(run.late_p50),
        _ms(run.late_p99),
        _ms(run.late_max),
        _ms(run.first_p50),
        _ms(run.first_p99),
        _ms(run.sent_late_p99),
        f"{run.client_cpu:.0%}",
    ]


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:,.1f}"
