"""The metrics of several processes, added up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from mlserver_streaming.watch.metrics_folder import open_run
from mlserver_streaming.watch.process_metrics import ProcessMetrics, added

COUNTS = """
from prometheus_client import Counter
Counter("of_a_worker", "x", ["m"]).labels("a").inc({})
"""
OPENS = """
import os, sys
from mlserver_streaming.watch.metrics_folder import open_run
print(open_run(sys.argv[1]), flush=True)
"""


def test_what_two_processes_count_is_added(tmp_path: Path) -> None:
    for count in (2, 3):
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", COUNTS.format(count)], env=environment, check=True)
    registry = CollectorRegistry()
    registry.register(ProcessMetrics(str(tmp_path)))
    assert registry.get_sample_value("of_a_worker_total", {"m": "a"}) == 5
    # This process's own are there as ever.
    assert registry.get_sample_value("process_resident_memory_bytes") is not None


def test_the_same_metric_here_and_there_is_one() -> None:
    here = [Sample("n_total", {"m": "a"}, 1), Sample("n_total", {"m": "b"}, 2)]
    there = [Sample("n_total", {"m": "b"}, 5), Sample("n_total", {"m": "c"}, 7)]
    assert [(each.labels["m"], each.value) for each in added(here, there)] == [
        ("a", 1),
        ("b", 7),
        ("c", 7),
    ]


def test_a_run_has_a_folder_of_its_own_and_removes_abandoned_ones(tmp_path: Path) -> None:
    program = OPENS + "os._exit(0)"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    [abandoned] = tmp_path.iterdir()
    mine, second = open_run(str(tmp_path)), open_run(str(tmp_path))
    assert not abandoned.exists()
    assert {path.name for path in tmp_path.iterdir()} == {Path(mine).name, Path(second).name}


def test_a_run_that_goes_on_is_left_alone_and_removes_its_own(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPENS + "input()", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        theirs = Path(running.stdout.readline().strip())
        open_run(str(tmp_path))
        assert theirs.is_dir()
        running.communicate("\n")
    assert not theirs.exists()


def test_a_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SystemExit) as caught:
        open_run(str(file / "metrics"))
    assert "name another as metrics_dir" in str(caught.value)
