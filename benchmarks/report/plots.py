"""The plots that the README shows: throughput as bars, lateness against load as lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..contenders.contenders import OURS
from ..rows.measured import FIRST_P99
from .results import README_ROWS, Result, figures, headline, when

# By how a contender's name begins.
COLORS = {
    "ours": "#1f6feb",
    "stock": "#8b949e",
    "Triton": "#2da44e",
    "LitServe": "#8250df",
    "BentoML": "#d4418e",
    "KServe": "#bf8700",
    "hand-written": "#c4721f",
    "bare": "#d0d7de",
}
BARS, PACED = "bench-throughput.png", "bench-paced.png"
LIMIT_MS = 100


def bars(result: Result) -> list[tuple[str, float]]:
    """A panel's bars: contenders and their medians, best last."""
    figure, _ = headline(result)
    found = [(name, each[figure]) for name, each in figures(result).items() if figure in each]
    return sorted(found, key=lambda bar: bar[1], reverse=figure == FIRST_P99)


def curves(result: Result) -> dict[str, list[tuple[int, float]]]:
    """For each contender, p99 lateness in milliseconds by streams; of several runs the best."""
    found: dict[str, dict[int, float]] = {}
    for name, each in result["contenders"].items():
        points = found.setdefault(name, {})
        for run in each["runs"]:
            late = 1e3 * run["late_p99"]
            points[run["streams"]] = min(late, points.get(run["streams"], late))
    return {name: sorted(points.items()) for name, points in found.items()}


def draw(results: Sequence[Result], folder: Path) -> None:
    """Draw what the results allow: the README's rows, and all paced ones."""
    folder.mkdir(parents=True, exist_ok=True)
    paced = [each for each in results if each["title"].startswith("paced")]
    plain = [each for each in results if each["title"] in README_ROWS and each not in paced]
    _draw([each for each in plain if each["contenders"]], (5.5, 2.6), _bars, folder / BARS)
    _draw(paced, (5.5, 5.2), _curves, folder / PACED)


def _draw(
    results: Sequence[Result],
    size: tuple[float, float],
    panel: Callable[[Any, Result], None],
    file: Path,
) -> None:
    """Two panels beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not results:
        return
    lines = -(-len(results) // 2)
    figure, _ = pyplot.subplots(lines, 2, figsize=(2 * size[0], size[1] * lines))
    for axis, result in zip(figure.axes, results, strict=False):
        panel(axis, result)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    for axis in figure.axes[len(results) :]:
        axis.set_visible(False)
    figure.text(0.5, 0.005, when(results), ha="center", fontsize=7, color="#57606a")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _bars(axis: Any, result: Result) -> None:
    names, values = zip(*bars(result), strict=True)
    drawn = axis.barh(names, values, color=list(map(_color, names)))
    axis.bar_label(drawn, labels=[f"{value:,.0f}" for value in values], padding=3, fontsize=8)
    figure, name = headline(result)
    less = "\n(less is better)" if figure == FIRST_P99 else ""
    for words in (", each its own model", ", unchanged"):
        name = name.replace(words, "")
    axis.set_title(name + less, fontsize=8, loc="left")
    axis.margins(x=0.15)
    axis.get_xaxis().set_visible(False)


def _curves(axis: Any, result: Result) -> None:
    fit, unit = figures(result), result["unit"]
    for name, points in curves(result).items():
        line = {"color": _color(name), "linewidth": 2.5 if name == OURS else 1.4}
        label = f"{name}: {fit[name]['most']:g}"
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label, **line)
    axis.axhline(LIMIT_MS, color="#cf222e", linewidth=1, linestyle="--")
    axis.set(yscale="log", xlabel=f"{unit}s", ylabel="lateness p99, ms")
    axis.set_title(result["title"], fontsize=9)
    axis.set_xscale("log", base=2)
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(lambda value, _: f"{value:g}")
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncol": 3, "frameon": False}
    axis.legend(fontsize=8, title=f"{unit}s within {LIMIT_MS} ms", **below)
    axis.grid(alpha=0.25)


def _color(name: str) -> str:
    return next((color for each, color in COLORS.items() if name.startswith(each)), "#57606a")
