"""`python -m benchmarks --quick` end to end: servers start, answers are checked, files come."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.process import Usage
from benchmarks.samples import Sample, alternate, percentile, ratio
from benchmarks.sse_load import said

ROOT = Path(__file__).resolve().parents[1]


def test_quick_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "fairness", "--quick", "--results", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "table.md").read_text()
    assert done.stdout.strip() == table.strip()
    assert "| ours / stock MLServer |" in table
    results = sorted(path.name for path in tmp_path.glob("*.json"))
    assert results == [f"fairness-{wire}-32-streams-at-once.json" for wire in ("grpc", "sse")]
    found = json.loads((tmp_path / results[0]).read_text())
    assert found["contenders"]["ours"]["medians"]["first_response_p99_ms"] > 0
    assert found["machine"]["mlserver"]


def test_quick_run_of_what_keys_and_metrics_cost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "costs", "--quick", "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("keys + metrics / open, unmeasured") == 4


def sample(responses: int) -> Sample:
    return Sample(responses, 2.0, responses * 10, 1.0, Usage(0.5, responses), (0.001, 0.003))


def test_figures() -> None:
    figures = sample(100).figures()
    assert figures["responses_per_second"] == 50
    assert figures["bytes_per_response"] == 10
    assert figures["client_cpu_percent"] == 50
    assert figures["server_cpu_us_per_response"] == 5000
    assert figures["faults_per_response"] == 1
    assert figures["first_response_p99_ms"] == 3


def test_percentile() -> None:
    values = list(range(1, 101))
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7.0


def test_contenders_take_turns_and_ratios_pair_their_rounds() -> None:
    order = []

    def measure(name: str, rates: list[int]) -> Sample:
        order.append(name)
        return sample(rates.pop(0))

    ours, theirs = [100, 300, 200], [50, 100, 50]
    samples = alternate(3, {"a": lambda: measure("a", ours), "b": lambda: measure("b", theirs)})
    assert order == ["a", "b"] * 3
    found = ratio(samples, "a", "b", at_least=3.5)
    assert (found.spread.median, found.spread.low, found.spread.high) == (3, 2, 4)
    assert found.met is False


def test_events_are_read_across_chunks() -> None:
    first, second = (
        b'data: {"outputs":[{"data":["a"]}]}\n\n',
        b'data: {"outputs":[{"data":[" b"]}]}\n\n',
    )
    body = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (first, second))
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
    assert said(answer) == "a b"
