"""The plots that the README shows: throughput as bars, lateness against load as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contenders.contenders import BARE, OURS, STOCK
from ..contenders.peer_servers import (
    BARE_SSE,
    BARE_SSE_TURNS,
    BENTOML,
    BY_HAND_GRPC,
    BY_HAND_SSE,
    KSERVE,
    LITSERVE,
    TRITON,
)
from ..loads.samples import spreads
from ..rows.jpeg_rows import LOOP, TWO_LOOPS
from ..rows.measured import FIRST_P99, RATE
from ..rows.rows import AnyRow, PacedRow, Row

COLORS = {
    OURS: "#1f6feb",
    STOCK: "#8b949e",
    TRITON: "#2da44e",
    LITSERVE: "#8250df",
    BENTOML: "#d4418e",
    KSERVE: "#bf8700",
    BY_HAND_SSE: "#c4721f",
    BY_HAND_GRPC: "#c4721f",
}
BARE_COLOR = "#d0d7de"
BARES = {BARE_SSE, BARE_SSE_TURNS, LOOP, TWO_LOOPS, BARE}
# The rows that have a panel, the figure it shows, and its heading.
PANELS = {
    "text, SSE, 32 clients": (RATE, "text over SSE, 32 streams: responses/s"),
    "text, gRPC, 32 clients": (RATE, "text over gRPC, 32 streams: responses/s"),
    "fairness, SSE, 32 streams at once": (FIRST_P99, "first of 32 SSE streams, p99 ms"),
    "fairness, gRPC, 32 streams at once": (FIRST_P99, "first of 32 gRPC streams, p99 ms"),
    "JPEG 640x480, one core, 8 in flight": (RATE, "JPEG 640x480, one core: frames/s"),
    "JPEG 640x480, two cores, 8 in flight": (RATE, "JPEG, two cores, one stream: frames/s"),
    "FP32 tensor, gRPC, 8 in flight": (RATE, "FP32 1x3x640x640: tensors/s"),
    "CPU-bound Python model, 4 streams": (RATE, "blocking Python model, two cores: answers/s"),
}
BARS, PACED = "bench-throughput.png", "bench-paced.png"
Bars = list[tuple[str, float]]


def bars(row: Row, figure: str) -> Bars:
    """A panel's bars: contenders and their medians, best last; bare limits where they fall."""
    found = []
    for name, samples in row.samples.items():
        each = spreads(samples)
        if figure in each:
            found.append((name, each[figure].median))
    return sorted(found, key=lambda bar: bar[1], reverse=figure == FIRST_P99)


def curves(row: PacedRow) -> dict[str, list[tuple[int, float]]]:
    """For each contender, p99 lateness in milliseconds by streams; of two runs the better."""
    found: dict[str, dict[int, float]] = {}
    for name, each in row.found.items():
        points = found.setdefault(name, {})
        for run in each.runs:
            late = 1e3 * run.late_p99
            points[run.streams] = min(late, points.get(run.streams, late))
    return {name: sorted(points.items()) for name, points in found.items()}


def draw(rows: Sequence[AnyRow], machine: Mapping[str, str], folder: Path) -> list[Path]:
    """Draw what the rows allow; the files."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    caption = f"{machine['date']}; {machine['machine']}; mlserver {machine['mlserver']}"
    files = []
    panels = [row for row in rows if isinstance(row, Row) and row.title in PANELS]
    if panels:
        files.append(_draw_bars(panels, caption, folder / BARS))
    paced = [row for row in rows if isinstance(row, PacedRow)]
    if paced:
        files.append(_draw_paced(paced, caption, folder / PACED))
    return files


def _draw_bars(rows: Sequence[Row], caption: str, file: Path) -> Path:
    from matplotlib import pyplot

    lines = -(-len(rows) // 2)
    figure, axes = pyplot.subplots(lines, 2, figsize=(11, 2.6 * lines), squeeze=False)
    for axis, row in zip(axes.flat, rows, strict=False):
        shown, heading = PANELS[row.title]
        found = bars(row, shown)
        drawn = axis.barh(
            [name for name, _ in found],
            [value for _, value in found],
            color=[_color(name) for name, _ in found],
        )
        axis.bar_label(drawn, labels=[f"{value:,.0f}" for _, value in found], padding=3, fontsize=8)
        for label in axis.get_yticklabels():
            label.set_fontweight("bold" if label.get_text().startswith(OURS) else "normal")
        axis.set_title(
            heading + (", less is better" if shown == FIRST_P99 else ""), fontsize=9, loc="left"
        )
        axis.margins(x=0.15)
        _quiet(axis)
        axis.get_xaxis().set_visible(False)
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    return _save(figure, caption, file)


def _draw_paced(rows: Sequence[PacedRow], caption: str, file: Path) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(rows), figsize=(5.5 * len(rows), 5.2), squeeze=False)
    for axis, row in zip(axes.flat, rows, strict=True):
        for name, points in curves(row).items():
            axis.plot(
                [streams for streams, _ in points],
                [late for _, late in points],
                marker="o",
                markersize=3,
                linewidth=2.5 if name == OURS else 1.4,
                zorder=3 if name == OURS else 2,
                color=_color(name),
                label=f"{name}: {row.found[name].most}",
            )
        limit = 1e3 * row.limit
        axis.axhline(limit, color="#cf222e", linewidth=1, linestyle="--")
        axis.set_yscale("log")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel(f"{row.unit}s")
        axis.set_ylabel("lateness p99, ms")
        axis.set_title(row.title, fontsize=10)
        axis.legend(
            fontsize=8,
            title=f"{row.unit}s within {limit:g} ms",
            title_fontsize=8,
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            ncol=3,
        )
        axis.grid(alpha=0.25)
        _quiet(axis)
    return _save(figure, caption, file)


def _color(name: str) -> str:
    if name in BARES:
        return BARE_COLOR
    return next((color for each, color in COLORS.items() if name.startswith(each)), "#57606a")


def _quiet(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(labelsize=8)


def _save(figure: Any, caption: str, file: Path) -> Path:
    from matplotlib import pyplot

    figure.text(0.5, 0.005, caption, ha="center", fontsize=7, color="#57606a")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
    return file
