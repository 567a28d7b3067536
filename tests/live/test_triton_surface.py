"""Every public method of Triton's clients, of two versions, against docs/triton.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlserver_streaming.rpc.errors import STATUS
from tests.live.service import HOST, ROOT, Service

SCRIPT = Path(__file__).with_name("scripts") / "triton_surface.py"
# Where `make perf-analyzer` puts tritonclient 2.46.
OLD = ROOT / ".venv" / "perf_analyzer" / "python"
ROW = re.compile(r"\| `(\w+)`(.*?) \|.*\| (answered|refused, (\d+)).*\|")
# "[404] sentence", "[StatusCode.NOT_FOUND] sentence".
REFUSED = re.compile(r"\[(?:StatusCode\.)?(\w+)\] ([^\n]+)\.")
ANSWERED = "answered"
CODES = {code.name: str(status) for status, code in STATUS.items() if status != 415}


def table() -> dict[str, str]:
    """The page's table: "answered", or the status of the refusal, by the call."""
    page = (ROOT / "docs" / "triton.md").read_text()
    return {name + rest: status or how for name, rest, how, status in ROW.findall(page)}


def happened(outcome: str) -> str:
    """The same of what a client saw; all of it where that was no clear sentence."""
    refused = REFUSED.fullmatch(outcome)
    if refused is None:
        return outcome
    code, sentence = refused.groups()
    return CODES.get(code, code) if ". " not in sentence else outcome


@pytest.mark.parametrize("client", ["2.73", "2.46"])
def test_every_method_does_what_the_page_says(service: Service, client: str) -> None:
    environment = dict(os.environ)
    if client == "2.46":
        if not OLD.exists():
            pytest.skip("tritonclient 2.46 is not here; `make perf-analyzer` fetches it")
        environment["PYTHONPATH"] = str(OLD)
    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), service.triton_address, service.grpc_address),
            f"{HOST}:{service.http}",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 6
    wanted, called = table(), set()
    for kind, outcomes in found.items():
        seen = {label: happened(outcome) for label, outcome in outcomes.items()}
        assert seen == {label: wanted.get(label, "not on the page") for label in seen}, kind
        called |= seen.keys()
    if client == "2.73":
        assert called == wanted.keys()
