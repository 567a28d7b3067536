"""`python -m benchmarks`: see --help, and README's "Speed"."""

import os
import sys
import tempfile
import time
from pathlib import Path

import click

from . import machine, report
from .contenders import HERE
from .cost_rows import costs
from .jpeg_rows import jpeg
from .process import ContenderError
from .rows import Plan, Row, RowMaker
from .tensor_rows import tensor_rows
from .text_rows import fairness, text

WORKLOADS: dict[str, RowMaker] = {
    "text": text,
    "jpeg": jpeg,
    "tensor": tensor_rows,
    "fairness": fairness,
    "costs": costs,
}
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.2


@click.command()
@click.argument("workloads", nargs=-1, type=click.Choice([*WORKLOADS, "all"]))
@click.option("--rounds", default=5, show_default=True, help="Windows of each contender.")
@click.option("--seconds", default=1.5, show_default=True, help="Length of a window.")
@click.option(
    "--quick", is_flag=True, help="A smoke run: one short window, its figures mean little."
)
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE / "results",
    help="Where table.md and the JSON files go. [default: benchmarks/results]",
)
def main(
    workloads: tuple[str, ...], rounds: int, seconds: float, quick: bool, results: Path
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
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        plan = Plan(rounds, seconds, Path(folder), {cores[0]}, {cores[-1]})
        for name in wanted:
            click.echo(f"measuring {name} ...", err=True)
            try:
                rows += WORKLOADS[name](plan)
            except ContenderError as error:
                sys.exit(f"{name}: {error}")
    how = (
        f"{rounds} round(s) of {seconds:g} s a contender, alternating, "
        f"{time.monotonic() - begun:.0f} s in all"
    )
    click.echo(report.write(rows, found, how, results))


if __name__ == "__main__":
    main()
