"""What it costs to be fit for a network: keys and metrics on, beside the same service without."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from .contenders import ROOT, ours
from .load_process import LoadProcess
from .rows import PINNED, Plan, Row
from .samples import alternate, ratio
from .sse_load import sse_streams, text_call
from .text_rows import PROMPT

OPEN, GUARDED = "open, unmeasured", "keys + metrics"
CLIENTS = 8
# A stream of one word is hardly more than a call: there a key costs most of all.
PROMPTS = {"200 words": PROMPT, "1 word": "What"}
AT_LEAST = 0.9


def costs(plan: Plan) -> list[Row]:
    """Responses a second over SSE."""
    without, guarded = plan.folder / "open", plan.folder / "guarded"
    guarded.mkdir()
    key = _new_key(guarded / "keys.json")
    streaming = json.loads((ROOT / "settings.json").read_text())["streaming"]
    keys = streaming | {"auth": {"keys_file": "keys.json"}}
    with (
        ours(without, plan.server_cores, metrics_endpoint=None) as open_server,
        ours(guarded, plan.server_cores, streaming=keys) as guarded_server,
        LoadProcess(plan.client_cores) as load,
    ):
        rows = []
        for title, prompt in PROMPTS.items():
            window = (CLIENTS, plan.seconds, False)
            samples = alternate(
                plan.rounds,
                {
                    OPEN: partial(
                        load.measure,
                        open_server,
                        sse_streams,
                        text_call("text-model", prompt),
                        *window,
                    ),
                    GUARDED: partial(
                        load.measure,
                        guarded_server,
                        sse_streams,
                        text_call("text-model", prompt, key),
                        *window,
                    ),
                },
            )
            target = AT_LEAST if prompt == PROMPT else None
            rows.append(
                Row(
                    f"costs, SSE, {title}, {CLIENTS} clients",
                    "response",
                    PINNED,
                    samples,
                    (
                        ratio(samples, GUARDED, OPEN, at_least=target),
                        ratio(samples, GUARDED, OPEN, "server_cpu_us_per_response"),
                    ),
                )
            )
        return rows


def _new_key(file: Path) -> str:
    command = [sys.executable, "-m", "serving.keys", "add", "bench", "--role", "infer"]
    done = subprocess.run(
        [*command, "--file", str(file)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]
