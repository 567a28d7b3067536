"""What it costs to be fit for a network: keys and metrics on, or TLS, beside the same without."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from ..contenders.contenders import ROOT, ours
from ..contenders.started import started
from ..inputs.certificate import make_certificate
from ..inputs.text_prompt import prompt
from ..loads.load_process import LoadProcess
from ..loads.sse_load import sse_streams, text_call
from .measured import RATE, SERVER_TIME, Target, measure_row
from .rows import PINNED, Plan, Row

OPEN, GUARDED, SECURED = "open, unmeasured", "keys + metrics", "TLS"
CLIENTS, MANY = 8, 32
# A stream of one word is hardly more than a call: there a key costs most of all.
PROMPTS = {"200 words": prompt(), "1 word": "What"}
KEYS_AT_LEAST = 0.9
TLS_RATE, TLS_TIME = 0.75, 1.25


def costs(plan: Plan) -> list[Row]:
    """Responses a second over SSE, and CPU time a response."""
    folder = plan.folder / "costs"
    folder.mkdir()
    certificate, private_key = make_certificate(folder)
    key = _new_key(folder / "keys.json")
    streaming = json.loads((ROOT / "settings.json").read_text())["streaming"]
    keys = streaming | {"auth": {"keys_file": str(folder / "keys.json")}}
    tls = streaming | {"tls": {"certificate": str(certificate), "key": str(private_key)}}
    starts: dict[str, Any] = {
        OPEN: partial(ours, metrics_endpoint=None),
        GUARDED: partial(ours, streaming=keys),
        SECURED: partial(ours, streaming=tls, metrics_endpoint=None),
    }
    with (
        started(starts, folder, plan.server_cores, OPEN) as (servers, absent),
        LoadProcess(plan.client_cores) as load,
    ):

        def row(title: str, clients: int, calls: dict[str, Any], *targets: Target) -> Row:
            count = f"{clients} client{'s' if clients > 1 else ''}"
            return measure_row(
                f"costs, SSE, {title}, {count}",
                "response",
                PINNED,
                plan.rounds,
                {
                    who: partial(
                        load.measure, servers[who], sse_streams, call, clients, plan.seconds, False
                    )
                    for who, call in calls.items()
                    if who in servers
                },
                targets,
                {who: why for who, why in absent.items() if who in calls},
            )

        rows = [
            row(
                title,
                CLIENTS,
                {
                    OPEN: text_call("text-model", words),
                    GUARDED: text_call("text-model", words, key),
                },
                Target(OPEN, KEYS_AT_LEAST if words == prompt() else None, None, RATE, GUARDED),
                Target(OPEN, figure=SERVER_TIME, of=GUARDED),
            )
            for title, words in PROMPTS.items()
        ]
        secured = text_call("text-model", prompt(), certificate=str(certificate))
        return rows + [
            row(
                "200 words over TLS",
                clients,
                {OPEN: text_call("text-model", prompt()), SECURED: secured},
                Target(OPEN, at_least=TLS_RATE, of=SECURED),
                Target(OPEN, at_most=TLS_TIME, figure=SERVER_TIME, of=SECURED),
            )
            for clients in (1, MANY)
        ]


def _new_key(file: Path) -> str:
    keys = (sys.executable, "-m", "mlserver_streaming.access.keys")
    command = [*keys, "add", "bench", "--role", "infer"]
    done = subprocess.run(
        [*command, "--file", str(file)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]
