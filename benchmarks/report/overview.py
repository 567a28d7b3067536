"""Rows on one page: a line a workload, a column a contender; and every target."""

from collections.abc import Iterable, Sequence

from ..contenders.contenders import BARE, OURS, STOCK
from ..contenders.peer_servers import (
    BARE_SSE,
    BENTOML,
    BY_HAND_GRPC,
    BY_HAND_SSE,
    KSERVE,
    LITSERVE,
    TRITON,
)
from ..loads.samples import Ratio, spreads
from ..rows.jpeg_rows import LOOP, TWO_LOOPS
from ..rows.measured import FIRST_P99, RATE
from ..rows.rows import AnyRow, PacedRow, Row
from ..rows.stock_model_rows import CALLS

# A column, and the contenders that stand in it: each row has one of them.
COLUMNS: dict[str, tuple[str, ...]] = {
    OURS: (OURS,),
    STOCK: (STOCK,),
    TRITON: (TRITON,),
    LITSERVE: (LITSERVE,),
    BENTOML: (BENTOML,),
    KSERVE: (KSERVE,),
    "by hand": (BY_HAND_SSE, BY_HAND_GRPC),
    "bare limit": (BARE_SSE, TWO_LOOPS, LOOP, BARE),
}

# What the README shows of it: a line for each kind of work, the one nearest to a busy server.
README_ROWS = (
    *(call.title for call in CALLS),
    "text, SSE, 32 clients",
    "fairness, SSE, 32 streams at once",
    "text, gRPC, 32 clients",
    "JPEG 640x480, one core, 8 in flight",
    "JPEG 640x480, two cores, 4 streams",
    "FP32 tensor, gRPC, 8 in flight",
    "paced, cameras at 25 fps",
    "paced, token streams at 30/s, SSE",
)


def short(rows: Iterable[AnyRow]) -> list[str]:
    """`overview` of the rows that the README shows."""
    return overview(row for row in rows if row.title in README_ROWS)


def overview(rows: Iterable[AnyRow]) -> list[str]:
    """A Markdown table: responses a second, or whatever a line names."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for row in rows:
        figures = _figures(row)
        cells = [_cell(figures, names) for names in COLUMNS.values()]
        if sum(map(bool, cells)) > 1:  # rows of ours alone are elsewhere
            lines.append(f"| {_named(row)} | " + " | ".join(cells) + " |")
    return lines


def _named(row: AnyRow) -> str:
    if isinstance(row, PacedRow):
        return f"{row.title}: {row.unit}s that fit"
    if _is_fairness(row):
        return f"{row.title.removeprefix('fairness, ')}: first response, p99 ms"
    # The rows beside these have one model on both sides.
    title = row.title.replace("text, ", "text, each its own model, ", 1)
    return f"{title}: {row.unit}s/s"


def _is_fairness(row: Row) -> bool:
    return row.title.startswith("fairness")


def _figures(row: AnyRow) -> dict[str, float]:
    if isinstance(row, PacedRow):
        return {name: float(found.most) for name, found in row.found.items()}
    figure = FIRST_P99 if _is_fairness(row) else RATE
    found = {name: spreads(samples) for name, samples in row.samples.items()}
    return {name: each[figure].median for name, each in found.items() if figure in each}


def _cell(figures: dict[str, float], names: Sequence[str]) -> str:
    values = [figures[name] for name in names if name in figures]
    text = f"{values[0]:,.0f}" if values else ""
    return f"**{text}**" if text and names == (OURS,) else text


def targets(rows: Iterable[AnyRow]) -> list[str]:
    """A Markdown table of every ratio that has a target."""
    lines = ["| workload | ratio | asked | seen | |", "|---|---|---|---:|---|"]
    for row in rows:
        for each in row.ratios:
            if each.target:
                lines.append(
                    f"| {row.title} | {each.of} / {each.over}{_of(each)} | {each.target} "
                    f"| {each.spread.median:.2f} | {verdict(each)} |"
                )
    return lines


def _of(ratio: Ratio) -> str:
    words = {
        FIRST_P99: ", first response p99",
        "server_cpu_us_per_response": ", CPU a response",
        "first_later_ms": ", first response p50, ms later",
    }
    return words.get(ratio.figure, "")


def verdict(ratio: Ratio) -> str:
    """met, or by how much it was missed."""
    if ratio.met is None:
        return ""
    return "met" if ratio.met else f"**missed by {ratio.missed_by or 0:.0%}**"


def tally(rows: Iterable[AnyRow]) -> str:
    """How many targets were met, in words."""
    asked = [each for row in rows for each in row.ratios if each.target]
    met = sum(bool(each.met) for each in asked)
    return f"{met} of {len(asked)} targets met"
