"""What this service's features cost, and the cache gives: each beside the service as it is shipped.

A key for each call, TLS, streams that outlive their connection, answers remembered.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from click.testing import CliRunner

from mlserver_streaming.access.keys import main as keys
from tests.certificates import Authority

from ..contenders.contenders import OURS, change_model, ours
from ..contenders.peer_servers import Start
from ..contenders.process import Contender
from ..inputs.text_prompt import WORDS, prompt, v2_body
from ..loads.plain_load import wrk
from ..loads.samples import Target
from .asked import events
from .measured import SERVER_TIME, Case, Plan, Row, measured

KEYS, TLS, RESUMABLE, HIT = "keys", "TLS", "resumable", "hit in the cache"
CLIENTS = 8
TARGETS = (
    Target(OURS, at_least=0.9, of=KEYS),
    Target(OURS, at_least=0.75, of=TLS),
    Target(OURS, at_most=1.25, figure=SERVER_TIME, of=TLS),
    Target(OURS, at_most=1.25, figure=SERVER_TIME, of=RESUMABLE),
    Target(OURS, figure=SERVER_TIME, of=HIT),
)


def features(plan: Plan) -> list[Row]:
    """Responses a second over SSE, and CPU time a response."""
    (folder := plan.folder / "features").mkdir()
    ca, key = Authority(), _new_key(folder / "keys.json")
    certificate, private_key = map(str, ca.server().write(folder, "server"))
    tls = {"certificate": certificate, "key": private_key}
    starts: dict[str, Start] = {
        OURS: ours,
        KEYS: partial(ours, streaming={"auth": {"keys_file": str(folder / "keys.json")}}),
        TLS: partial(ours, streaming={"tls": tls}),
        RESUMABLE: ours,
        HIT: _cached,
    }
    call = events(OURS, "text", prompt())
    ways = {
        OURS: call,
        KEYS: replace(call, headers={"x-api-key": key}),
        TLS: replace(call, certificate=str(ca.write(folder / "ca.pem"))),
        RESUMABLE: replace(call, body=v2_body(prompt(), resumable=True)),
        HIT: call,
    }
    calls = {who: (wrk, way, CLIENTS) for who, way in ways.items()}
    slow = (wrk, replace(call, body=v2_body(prompt(), delay=0.005)), 1)
    hit, title = Target(OURS, at_least=20, of=HIT), f"cache, SSE, {WORDS} words, 5 ms a word"
    cases = [
        Case(f"features, SSE, {WORDS} words, {CLIENTS} clients", "response", calls, TARGETS),
        Case(f"{title}, 1 client", "response", {OURS: slow, HIT: slow}, [hit]),
    ]
    return measured(plan, starts, cases)


def _cached(folder: Path, cores: set[int]) -> Contender:
    server = ours(folder, cores, streaming={"cache": {}})
    change_model(folder, "text-model", {"cache_enabled": True})
    return server


def _new_key(file: Path) -> str:
    made = CliRunner().invoke(keys, ["add", "bench", "--role", "infer", "--file", str(file)])
    return made.stdout.splitlines()[-1]
