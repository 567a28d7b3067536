"""The results of rows as they are written: a JSON file a row, of whatever run measured it last."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..rows.measured import FIRST_P99, RATE

# A row as its file has it (rows/measured.py, as_dict).
Result = dict[str, Any]
# How tables show rows, by how their titles begin.
ORDER = ("a stock model", "text", "fairness", "JPEG", "FP32", "paced", "features", "cache", "start")
# A machine whose speed changes by more during a row is said to have done so.
STEADY = 0.25
# What the README shows: a line for each kind of work, the one nearest to a busy server.
README_ROWS = (
    "a stock model, unchanged, REST infer, 1 connection",
    "a stock model, unchanged, REST infer, 32 connections",
    "a stock model, unchanged, SSE, 1 word, 32 connections",
    "a stock model, unchanged, SSE, 200 words, 32 connections",
    "a stock model, unchanged, gRPC infer, 32 at once",
    "text, SSE, 32 clients",
    "text, gRPC, 32 clients",
    "fairness, SSE, 32 streams at once",
    "JPEG 640x480, one core, 8 in flight",
    "JPEG 640x480, two cores, 4 streams",
    "FP32 tensor, gRPC, 8 in flight",
    "paced, cameras at 25 fps",
    "paced, token streams at 30/s, SSE",
)


def write(results: Iterable[Result], folder: Path) -> None:
    """A JSON file a row; one that was there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        name = "-".join(re.sub(r"[^a-z0-9]+", " ", result["title"].lower()).split())
        (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def read(folder: Path) -> list[Result]:
    """All that are there, in the tables' order."""
    found: list[Result] = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    return sorted(found, key=lambda result: _place(result["title"]))


def _place(title: str) -> tuple[int, int, str]:
    begins = [index for index, each in enumerate(ORDER) if title.startswith(each)]
    in_readme = README_ROWS.index(title) if title in README_ROWS else len(README_ROWS)
    return begins[0] if begins else len(ORDER), in_readme, title


def headline(result: Result) -> tuple[str, str]:
    """The figure that says most of a row, and what a line of a table calls it."""
    title, unit = result["title"], result["unit"]
    if title.startswith("paced"):
        return "most", f"{title}: {unit}s that fit"
    if title.startswith("fairness"):
        return FIRST_P99, f"{title.removeprefix('fairness, ')}: first response, p99 ms"
    if title.startswith("start"):
        return "ready_ms", f"{title}, ms"
    # The rows beside these have one model on both sides.
    return RATE, f"{title.replace('text, ', 'text, each its own model, ', 1)}: {unit}s/s"


def figures(result: Result) -> dict[str, dict[str, float]]:
    """For each contender its medians."""
    return {name: each["medians"] for name, each in result["contenders"].items()}


def when(results: Sequence[Result]) -> str:
    """When and where they were measured: the newest's machine, and the oldest's date."""
    machines = sorted((result["machine"] for result in results), key=lambda each: each["date"])
    old, new = machines[0], machines[-1]
    since = f"{old['date']} to " if old["date"] != new["date"] else ""
    return f"{since}{new['date']}; {new['machine']}; mlserver {new['mlserver']}"


def unsteady(result: Result) -> str:
    """By how much the machine's own speed changed while a row was measured; empty where it did not
    by much, or nobody looked."""
    before, after = result.get("speed_ms") or (1.0, 1.0)
    changed = max(before, after) / min(before, after) - 1
    if changed <= STEADY:
        return ""
    return f"meanwhile the machine became {changed:.0%} {'slower' if after > before else 'faster'}"


def targets(results: Iterable[Result]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every ratio that has a target, with its row's title."""
    return [
        (result["title"], ratio)
        for result in results
        for ratio in result["ratios"]
        if ratio["target"]
    ]


def tally(results: Iterable[Result]) -> str:
    """How many targets were met, in words."""
    asked = targets(results)
    return f"{sum(bool(ratio['met']) for _, ratio in asked)} of {len(asked)} targets met"


def verdict(ratio: Mapping[str, Any]) -> str:
    """met, or by how much it was missed."""
    if ratio["met"] is None:
        return ""
    return "met" if ratio["met"] else f"**missed by {ratio['missed_by'] or 0:.0%}**"
