"""`python -m benchmarks`: see --help, and benchmarks/README.md."""

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click

from .contenders.contenders import HERE
from .contenders.process import ContenderError
from .report import machine, plots, report
from .report.publish import publish
from .rows.cache_rows import cache
from .rows.cost_rows import costs
from .rows.jpeg_rows import jpeg
from .rows.paced_rows import paced
from .rows.rows import AnyRow, Plan, RowMaker
from .rows.shared_memory_rows import shared_memory
from .rows.stock_model_rows import stock_model
from .rows.tensor_rows import tensor_rows
from .rows.text_rows import fairness, text
from .rows.worker_rows import workers

WORKLOADS: dict[str, RowMaker] = {
    "stock-model": stock_model,
    "text": text,
    "jpeg": jpeg,
    "tensor": tensor_rows,
    "shared-memory": shared_memory,
    "costs": costs,
    "cache": cache,
    "workers": workers,
    "paced": paced,
}
# A part of text, for those in a hurry.
PARTS: dict[str, RowMaker] = {"fairness": fairness}
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.2
QUICK_PACED_SECONDS, QUICK_STREAMS = 0.5, 2


@click.command()
@click.argument("workloads", nargs=-1, type=click.Choice([*WORKLOADS, *PARTS, "all"]))
@click.option("--rounds", default=3, show_default=True, help="Windows of each contender.")
@click.option("--seconds", default=0.7, show_default=True, help="Length of a window.")
@click.option(
    "--quick", is_flag=True, help="A smoke run: one short window, its figures mean little."
)
@click.option(
    "--publish",
    "published",
    is_flag=True,
    help="Renew the tables and plots of the README and of benchmarks/README.md too.",
)
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE / "results",
    help="Where table.md and the JSON files go. [default: benchmarks/results]",
)
def main(
    workloads: tuple[str, ...],
    rounds: int,
    seconds: float,
    quick: bool,
    published: bool,
    results: Path,
) -> None:
    """Measure the service beside what a user would pick instead: WORKLOADS, or all of them.

    Every contender is a process of its own on the loopback; one load generator drives them in
    turn and checks every answer.
    """
    if quick:
        rounds, seconds = QUICK_ROUNDS, QUICK_SECONDS
    wanted = WORKLOADS if not workloads or "all" in workloads else dict.fromkeys(workloads)
    cores = sorted(os.sched_getaffinity(0))
    found = machine.describe()
    begun = time.monotonic()
    rows: list[AnyRow] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        plan = Plan(rounds, seconds, Path(folder), {cores[0]}, {cores[-1]})
        if quick:
            plan = replace(plan, paced_seconds=QUICK_PACED_SECONDS, most_streams=QUICK_STREAMS)
        for name in wanted:
            click.echo(f"measuring {name} ...", err=True)
            try:
                rows += (WORKLOADS | PARTS)[name](plan)
            except ContenderError as error:
                sys.exit(f"{name}: {error}")
    how = (
        f"{rounds} round{'s' if rounds > 1 else ''} of {seconds:g} s a contender, alternating, "
        f"{time.monotonic() - begun:.0f} s in all"
    )
    if published:
        for stale in results.glob("*.json"):
            stale.unlink()
    table = report.write(rows, found, how, results)
    click.echo(table)
    if published:
        publish(rows, found, how, table)
    else:
        plots.draw(rows, found, results)


if __name__ == "__main__":
    main()
