"""What this service's features cost, and the cache gives: each beside the service as it is shipped.

A key for each call, TLS, streams that outlive their connection (kept here, or in Redis), answers
remembered (here, or in memcached).
"""

import secrets
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests import memcached, redis_server
from tests.certificates import Authority

from ..contenders.contenders import OURS, ROOT, change_model, ours
from ..contenders.peer_servers import Start, not_here
from ..contenders.process import Contender
from ..inputs.text_prompt import WORDS, prompt, v2_body
from ..loads.plain_load import wrk
from ..loads.samples import Target
from .asked import events
from .measured import SERVER_TIME, Case, Plan, Row, measured

UNMEASURED, KEYS, TLS = "no metrics", "keys", "TLS"
RESUMABLE, STORED = "resumable", "resumable, Redis"
HIT, MEMCACHED = "hit, in-process", "hit, memcached"
CLIENTS, DELAY_SECONDS = 8, 0.005
TARGETS = (
    Target(OURS, of=UNMEASURED),
    Target(OURS, at_least=0.9, of=KEYS),
    Target(OURS, at_least=0.75, of=TLS),
    Target(OURS, at_most=1.25, figure=SERVER_TIME, of=TLS),
    Target(OURS, at_most=1.25, figure=SERVER_TIME, of=RESUMABLE),
    Target(OURS, at_most=2.5, figure=SERVER_TIME, of=STORED),
    *(Target(OURS, figure=SERVER_TIME, of=who) for who in (UNMEASURED, KEYS, HIT, MEMCACHED)),
)


def features(plan: Plan) -> list[Row]:
    """Responses a second over SSE, and CPU time a response."""
    (folder := plan.folder / "features").mkdir()
    ca = Authority()
    certificate, private_key = ca.server().write(folder, "server")
    key = _new_key(folder / "keys.json")
    (secret := folder / "secret").write_text(secrets.token_hex())
    secret.chmod(0o600)

    def with_settings(**streaming: Any) -> Start:
        return partial(ours, streaming=streaming)

    starts: dict[str, Start] = {
        OURS: ours,
        UNMEASURED: partial(ours, metrics_endpoint=None),
        KEYS: with_settings(auth={"keys_file": str(folder / "keys.json")}),
        TLS: with_settings(tls={"certificate": str(certificate), "key": str(private_key)}),
        RESUMABLE: ours,
        STORED: not_here("redis-server"),
        HIT: partial(_cached, {}),
        MEMCACHED: not_here("memcached"),
    }
    call = events(OURS, "text", prompt())
    kept = replace(call, body=v2_body(prompt(), resumable=True))
    ways = dict.fromkeys((OURS, UNMEASURED, HIT, MEMCACHED), call)
    ways |= {KEYS: replace(call, headers={"x-api-key": key}), RESUMABLE: kept, STORED: kept}
    ways[TLS] = replace(call, certificate=str(ca.write(folder / "ca.pem")))
    all_ways = {who: (wrk, way, CLIENTS) for who, way in ways.items()}
    slow = replace(call, body=v2_body(prompt(), delay=DELAY_SECONDS))
    cases = [
        Case(f"features, SSE, {WORDS} words, {CLIENTS} clients", "response", all_ways, TARGETS),
        Case(
            f"cache, {WORDS} words, 5 ms a word, SSE, 1 client",
            "response",
            dict.fromkeys((OURS, HIT, MEMCACHED), (wrk, slow, 1)),
            [Target(OURS, at_least=20, of=HIT), Target(OURS, of=MEMCACHED)],
        ),
    ]
    with ExitStack() as stores:
        if redis_server.BINARY:
            url = f"{stores.enter_context(redis_server.RedisServer()).url}/0"
            starts[STORED] = with_settings(
                resume={"store": {"url": url, "secret_file": str(secret)}}
            )
        if memcached.BINARY:
            address = stores.enter_context(memcached.Memcached()).address
            starts[MEMCACHED] = partial(_cached, {"backend": "memcached", "servers": [address]})
        return measured(plan, starts, cases)


def _cached(cache: dict[str, Any], folder: Path, cores: set[int]) -> Contender:
    server = ours(folder, cores, streaming={"cache": cache})
    change_model(folder, "text-model", {"cache_enabled": True})
    return server


def _new_key(file: Path) -> str:
    keys = (sys.executable, "-m", "mlserver_streaming.access.keys")
    command = [*keys, "add", "bench", "--role", "infer", "--file", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]
