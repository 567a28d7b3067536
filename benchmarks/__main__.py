"""`python -m benchmarks`: see --help, and benchmarks/README.md."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .contenders.contenders import HERE
from .contenders.process import ContenderError
from .report import machine, report
from .report.publish import publish
from .report.results import Result, write
from .rows.feature_rows import features
from .rows.jpeg_rows import jpeg
from .rows.measured import Plan, Row
from .rows.paced_rows import paced
from .rows.service_rows import idle, start
from .rows.stock_model_rows import stock_model
from .rows.tensor_rows import tensor_rows
from .rows.text_rows import text

WORKLOADS: dict[str, Callable[[Plan], list[Row]]] = {
    "stock-model": stock_model,
    "text": text,
    "jpeg": jpeg,
    "tensor": tensor_rows,
    "features": features,
    "start": start,
    "paced": paced,
    "idle": idle,
}


@click.command()
@click.argument("workloads", nargs=-1, type=click.Choice([*WORKLOADS, "all"]))
@click.option("--row", default="", help="Only rows whose title has this in it.")
@click.option("--beside", multiple=True, help="Only contenders with this in their names; several.")
@click.option("--rounds", default=3, show_default=True, help="Windows of each contender.")
@click.option("--seconds", default=0.7, show_default=True, help="Length of a window.")
@click.option("--quick", is_flag=True, help="One short window: its figures mean little.")
@click.option(
    "--publish", "published", is_flag=True, help="Renew the READMEs' tables and plots too."
)
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where a JSON file a row goes. [default: none are written; with --publish "
    "benchmarks/results]",
)
def main(
    workloads: tuple[str, ...],
    row: str,
    beside: tuple[str, ...],
    rounds: int,
    seconds: float,
    quick: bool,
    published: bool,
    results: Path | None,
) -> None:
    """Measure the service beside what a user would pick instead: WORKLOADS, or all of them.

    Every contender is a process of its own on the loopback; they are measured in turn, ours beside
    each other, and a ratio is the median of those of windows side by side.
    """
    if quick:
        rounds, seconds = 1, 0.2
    if published:
        results = results or HERE / "results"
    wanted = WORKLOADS if not workloads or "all" in workloads else dict.fromkeys(workloads)
    cores = sorted(os.sched_getaffinity(0))
    found, rows, failed = machine.describe(), list[Result](), list[str]()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        short: dict[str, Any] = {"paced_seconds": 0.5, "most_streams": 2} if quick else {}
        places = Path(folder), {cores[0]}, {cores[-1]}
        plan = Plan(rounds, seconds, *places, row=row, beside=beside, **short)
        for name in wanted:
            click.echo(f"measuring {name} ...", err=True)
            try:
                measured = [each.as_dict(found) for each in WORKLOADS[name](plan)]
            except ContenderError as error:
                failed.append(f"{name}: {error}")
                continue
            rows += measured
            if results:  # at once: what is measured later may fail
                write(measured, results)
    click.echo(report.table(rows))
    if published and results:
        publish(results)
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
