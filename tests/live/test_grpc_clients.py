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


@pytest.mark.skipif(
    not (PERF_ANALYZER / "perf_analyzer").exists(),
    reason="Triton's perf_analyzer is not here; `make perf-analyzer` fetches it",
)
def test_perf_analyzer_streams(service: Service, tmp_path: Path):
    data = tmp_path / "in.json"
    data.write_text(json.dumps({"data": [{"prompt": ["one two three"]}]}))
    done = subprocess.run(
        [
            str(PERF_ANALYZER / "perf_analyzer"),
            *("-m", "text-model", "-u", service.triton_address, "-i", "grpc"),
            *("--streaming", "--async", "--input-data", str(data), "--shape", "prompt:1"),
            *("--request-parameter", "delay:0:int", "--concurrency-range", "4"),
            *("--measurement-mode", "count_windows", "--measurement-request-count", "50"),
            *("--max-trials", "3", "--stability-percentage", "999"),
        ],
        env={**os.environ, "LD_LIBRARY_PATH": str(PERF_ANALYZER)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Detected decoupled model" in done.stdout, done.stderr
    throughput, responses = (
        float(found) for found in re.findall(r"hroughput: ([\d.]+) infer/sec", done.stdout)[:2]
    )
    assert throughput > 0
    assert responses == pytest.approx(3 * throughput, rel=0.05)
