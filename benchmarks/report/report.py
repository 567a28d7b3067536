"""Results as Markdown: one page of all of them, and a section a row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..contenders import contenders as named
from ..rows.jpeg_rows import LOOP, TWO_LOOPS, WITHOUT_CLIENT
from ..rows.measured import FIRST_P99, PER_CPU, RATE, SERVER_TIME
from .results import (
    README_ROWS,
    Result,
    figures,
    headline,
    tally,
    targets,
    unsteady,
    verdict,
    when,
)

# Of rows of an older run, the other gRPC server may be the one that is the default now.
OTHERS = [f"{named.OURS}, {server}" for server in named.GRPC_SERVERS]
# A column of the overview, and the contenders that stand in it: each row has one of them.
COLUMNS: dict[str, tuple[str, ...]] = {
    **{who: (who,) for who in (named.OURS, *OTHERS, named.STOCK)},
    **{who: (who,) for who in (named.TRITON, named.LITSERVE, named.BENTOML, named.KSERVE)},
    "by hand": (named.BY_HAND_SSE, named.BY_HAND_GRPC),
    "bare limit": (named.BARE_SSE, TWO_LOOPS, LOOP, "bare grpc.aio"),
}
# A figure of a row's section: its column's heading, and how it is shown.
FIGURES = {
    RATE: ("/s", "{:,.0f}"),
    WITHOUT_CLIENT: ("/s, client's CPU left out", "{:,.0f}"),
    "most": ("how many fit", "{:,.0f}"),
    "late_p50_ms": ("late p50 ms", "{:.1f}"),
    "late_p99_ms": ("late p99 ms", "{:.1f}"),
    "client_late_p99_ms": ("client late p99 ms", "{:.1f}"),
    "kib_a_stream": ("KiB a stream", "{:,.1f}"),
    "ready_ms": ("ready ms", "{:,.0f}"),
    "memory_mib": ("memory MiB", "{:,.0f}"),
    "first_response_p50_ms": ("first p50 ms", "{:.2f}"),
    FIRST_P99: ("first p99 ms", "{:.2f}"),
    "server_cpu_percent": ("server CPU", "{:.0f} %"),
    SERVER_TIME: ("server µs", "{:,.1f}"),
    "bytes_per_response": ("bytes", "{:,.0f}"),
    "client_cpu_percent": ("client CPU", "{:.0f} %"),
}
NAMES = {name: heading for name, (heading, _) in FIGURES.items()} | {PER_CPU: "/s of server CPU"}


def overview(results: Iterable[Result]) -> list[str]:
    """A line a row, a column a contender; rows of ours alone are elsewhere."""
    rows: dict[str, list[str]] = {}
    for result in results:
        figure, name = headline(result)
        seen = {who: each[figure] for who, each in figures(result).items() if figure in each}
        there = (next(filter(seen.__contains__, names), "") for names in COLUMNS.values())
        cells = [f"{seen[who]:,.0f}" if who else "" for who in there]
        if named.OURS in seen and sum(map(bool, cells)) > 1:
            name += f" ({unsteady(result)})" if unsteady(result) else ""
            rows[name] = [f"**{cells[0]}**", *cells[1:]]
    # A column that nobody stands in says nothing.
    shown = [at for at in range(len(COLUMNS)) if any(cells[at] for cells in rows.values())]
    heads = [list(COLUMNS)[at] for at in shown]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    lines += [
        f"| {name} | " + " | ".join(cells[at] for at in shown) + " |"
        for name, cells in rows.items()
    ]
    return lines


def short(results: Sequence[Result]) -> list[str]:
    """What the README shows; the targets stand in benchmarks/README.md only."""
    return [
        *overview(each for each in results if each["title"] in README_ROWS),
        "",
        f"{when(results)}. {tally(results)}; each: "
        "[benchmarks/README.md](benchmarks/README.md#targets).",
    ]


def page(results: Sequence[Result]) -> list[str]:
    """What benchmarks/README.md shows: the overview, and every target."""
    lines = [f"{when(results)}. [Every row](results/table.md).", "", *overview(results)]
    lines += ["", "## Targets", "", f"{tally(results)}.", ""]
    lines += ["| workload | ratio | of | asked | seen | |", "|---|---|---|---|---:|---|"]
    lines += [
        f"| {title} | {compared(each)} | {NAMES.get(each['figure'], each['figure'])} "
        f"| {each['target']} | {each['spread']['median']:.2f} | {verdict(each)} |"
        for title, each in targets(results)
    ]
    return lines


def table(results: Sequence[Result]) -> str:
    """Every row."""
    lines = [
        "# Rows of the benchmark",
        "",
        "Medians; in brackets the lowest and the highest round. `server µs` and `bytes` are for "
        "each response: the server's CPU time, what came over the wire.",
    ]
    for result in results:
        machine = dict(result["machine"])
        words = [f"{machine.pop('date')}; {machine.pop('machine')}"]
        words += [f"{name} {each}" for name, each in machine.items()]
        if around := result.get("speed_ms"):
            words.append(
                "a fixed loop of Python took {:.0f} ms before, {:.0f} after".format(*around)
            )
        words += [f"**{unsteady(result)}**"] if unsteady(result) else []
        lines += ["", f"## {result['title']}", ""]
        lines += [f"A response is one {result['unit']}; {result['cores']}. {'; '.join(words)}."]
        lines += ["", *_contenders(result)]
        if result["ratios"]:
            lines += ["", "| ratio | of | median | rounds | target |", "|---|---|---|---|---|"]
        for each in result["ratios"]:
            found = each["spread"]
            lines.append(
                f"| {compared(each)} | {NAMES.get(each['figure'], each['figure'])} "
                f"| **{found['median']:.2f}** | {found['low']:.2f}-{found['high']:.2f} "
                f"| {each['target']} {verdict(each)} |"
            )
    return "\n".join(lines) + "\n"


def compared(ratio: Mapping[str, Any]) -> str:
    """The two contenders of a ratio; one where its figure itself counts."""
    return " / ".join(filter(None, (ratio["of"], ratio["over"])))


def _contenders(result: Result) -> list[str]:
    seen = figures(result)
    shown = [name for name in FIGURES if any(name in each for each in seen.values())]
    lines = [
        "| contender | " + " | ".join(FIGURES[name][0] for name in shown) + " |",
        "|---|" + "---:|" * len(shown),
    ]
    for who, each in seen.items():
        cells = [FIGURES[name][1].format(each[name]) if name in each else "" for name in shown]
        rounds = [window[shown[0]] for window in result["contenders"][who]["rounds"]]
        low, high = min(rounds), max(rounds)
        cells[0] += f" ({low:,.0f}-{high:,.0f})" if low != high else ""
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    for who, why in result["not measured"].items():
        lines.append(f"| {who} | not measured: {why} |" + " |" * max(0, len(shown) - 1))
    return lines
