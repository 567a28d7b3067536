"""Clients that people have already and cannot change, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.service import ROOT, Service

SCRIPTS = Path(__file__).with_name("scripts")
# Where `make perf-analyzer` puts Triton's load generator.
PERF_ANALYZER = ROOT / ".venv" / "perf_analyzer"


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tritonclient_streaming(service: Service):
    found = json.loads(run("triton_stream.py", service.triton_address))
    assert found["ready"] is True
    assert found["decoupled"] is True
    assert found["input"] == "prompt"
    assert found["statistics"] == "text-model"
    assert found["unary calls counted"] == 3
    assert found["plain"] == [["a", False], [" b", True]]
    assert found["with empty final"] == [["c", False], [" d", True]]
    assert "0 to 10" in found["refused"][0]
    assert found["after"] == [["still", False], [" here", True]]


@pytest.mark.parametrize("port", ["grpc_address", "triton_address"])
def test_tritonclient_unary_with_sequences(service: Service, port: str):
    sequence_id = {"grpc_address": 2001, "triton_address": 2002}[port]
    answers = json.loads(run("triton_sequence.py", getattr(service, port), str(sequence_id)))
    assert [shape for shape, _ in answers] == [[48, 64, 3]] * 3
    assert all(
        abs(mean - shade) <= 2 for (_, mean), shade in zip(answers, (20, 120, 220), strict=True)
    )
    log = service.log.read_text()
    assert f"Stream {sequence_id} started" in log
    assert re.search(rf"Stream {sequence_id} stopped \(3 frames\)", log)


@pytest.mark.parametrize("model", ["text-model", "stock-text"])
def test_the_grpc_client_of_mlserver_s_streaming_example(service: Service, model: str):
    printed = run("mlserver_grpc_client.py", service.grpc_address, model)
    assert printed.splitlines() == [
        "['What']",
        "[' is']",
        "[' the']",
        "[' capital']",
        "[' of']",
        "[' France?']",
    ]


needs_perf_analyzer = pytest.mark.skipif(
    not (PERF_ANALYZER / "perf_analyzer").exists(),
    reason="Triton's perf_analyzer is not here; `make perf-analyzer` fetches it",
)


def perf_analyzer(*arguments: str) -> str:
    """What it prints; it asks some fifty times, again and again."""
    done = subprocess.run(
        [
            str(PERF_ANALYZER / "perf_analyzer"),
            *arguments,
            *("--concurrency-range", "4", "--measurement-mode", "count_windows"),
            *("--measurement-request-count", "50", "--max-trials", "3"),
            *("--stability-percentage", "999"),
        ],
        env={**os.environ, "LD_LIBRARY_PATH": str(PERF_ANALYZER)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def server_side(printed: str) -> dict[str, int]:
    """What it prints of the service's own statistics: counts, and microseconds of each part."""
    counts = re.findall(r"(\w[\w ]+) count: (\d+)", printed.partition("Server:")[2])
    parts = re.findall(r"(compute \w+|queue|overhead) (\d+) usec", printed)
    return {name.lower(): int(number) for name, number in [*counts, *parts]}


@needs_perf_analyzer
def test_perf_analyzer_streams(service: Service, tmp_path: Path):
    data = tmp_path / "in.json"
    data.write_text(json.dumps({"data": [{"prompt": ["one two three"]}]}))
    printed = perf_analyzer(
        *("-m", "text-model", "-u", service.triton_address, "-i", "grpc"),
        *("--streaming", "--async", "--input-data", str(data), "--shape", "prompt:1"),
        *("--request-parameter", "delay:0:int"),
    )
    assert "Detected decoupled model" in printed
    throughput, responses = (
        float(found) for found in re.findall(r"hroughput: ([\d.]+) infer/sec", printed)[:2]
    )
    assert throughput > 0
    assert responses == pytest.approx(3 * throughput, rel=0.05)
    seen = server_side(printed)
    assert min(seen[name] for name in ("inference", "execution", "compute infer")) > 0


@needs_perf_analyzer
@pytest.mark.parametrize("wire", ["grpc", "triton", "http"])
def test_perf_analyzer_asks_one_by_one(service: Service, wire: str):
    address = f"127.0.0.1:{service.http}" if wire == "http" else getattr(service, f"{wire}_address")
    protocol = "http" if wire == "http" else "grpc"
    printed = perf_analyzer(
        *("-m", "tensor-sum", "-u", address, "-i", protocol, "--shape", "x:100000")
    )
    assert "Throughput: 0 " not in printed
    seen = server_side(printed)
    assert seen["successful request"] == seen["inference"] == seen["execution"] > 0
    assert min(seen[f"compute {part}"] for part in ("input", "infer", "output")) > 0
