"""What it costs to be fit for a network: keys and metrics on, or TLS, beside the same without; and
what a stream costs that outlives its connection, kept here or in a store for others."""

import secrets
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests import redis_server
from tests.certificates import Authority

from ..contenders.contenders import OURS, ROOT, ours
from ..contenders.peer_servers import Start, not_here
from ..inputs.text_prompt import WORDS, prompt, v2_body
from ..loads.calls import HttpCall
from ..loads.plain_load import wrk
from ..loads.samples import Target
from .asked import events
from .measured import MANY, RATE, SERVER_TIME, Case, Plan, Row, clients, measured

OPEN, GUARDED, SECURED = "open, unmeasured", "keys + metrics", "TLS"
CLIENTS = 8
KEYS_AT_LEAST = 0.9
TLS_RATE, TLS_TIME = 0.75, 1.25
LOST, MEMORY, STORED = "not resumable", "resumable", "resumable, Redis"
RESUMABLE_CLIENTS = 4
MEMORY_TIME, STORED_TIME = 1 / 0.8, 1 / 0.4


def costs(plan: Plan) -> list[Row]:
    """Responses a second over SSE, and CPU time a response."""
    folder = plan.folder / "costs"
    folder.mkdir()
    authority = Authority()
    ca = authority.write(folder / "ca.pem")
    certificate, private_key = authority.server().write(folder, "server")
    key = _new_key(folder / "keys.json")
    keys = {"auth": {"keys_file": str(folder / "keys.json")}}
    tls = {"tls": {"certificate": str(certificate), "key": str(private_key)}}
    starts: dict[str, Start] = {
        OPEN: partial(ours, metrics_endpoint=None),
        GUARDED: partial(ours, streaming=keys),
        SECURED: partial(ours, streaming=tls, metrics_endpoint=None),
    }

    def call(text: str, key: str = "", certificate: str = "") -> HttpCall:
        headers = {"x-api-key": key} if key else {}
        return replace(events(OURS, "text", text), headers=headers, certificate=certificate)

    found = []
    # A stream of one word is hardly more than a call: there a key costs most of all.
    for title, text, least in (("200 words", prompt(), KEYS_AT_LEAST), ("1 word", "What", None)):
        calls = {OPEN: (wrk, call(text), CLIENTS), GUARDED: (wrk, call(text, key), CLIENTS)}
        targets = (
            Target(OPEN, least, None, RATE, GUARDED),
            Target(OPEN, figure=SERVER_TIME, of=GUARDED),
        )
        title = f"costs, SSE, {title}, {CLIENTS} clients"
        found.append(Case(title, "response", calls, targets, OPEN))
    secured = call(prompt(), certificate=str(ca))
    for count in (1, MANY):
        title = f"costs, SSE, 200 words over TLS, {clients(count)}"
        calls = {OPEN: (wrk, call(prompt()), count), SECURED: (wrk, secured, count)}
        targets = (
            Target(OPEN, at_least=TLS_RATE, of=SECURED),
            Target(OPEN, at_most=TLS_TIME, figure=SERVER_TIME, of=SECURED),
        )
        found.append(Case(title, "response", calls, targets, OPEN))
    return measured(plan, starts, found)


def _new_key(file: Path) -> str:
    keys = (sys.executable, "-m", "mlserver_streaming.access.keys")
    command = [*keys, "add", "bench", "--role", "infer", "--file", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def resumable(plan: Plan) -> list[Row]:
    """CPU time of the service for a response over SSE."""
    (secret := plan.folder / "secret").write_text(secrets.token_hex())
    secret.chmod(0o600)
    lost = events(OURS, "text", prompt())
    kept = replace(lost, body=v2_body(prompt(), resumable=True), is_right=_has_all_words)
    calls = dict.fromkeys((MEMORY, STORED), (wrk, kept, RESUMABLE_CLIENTS))
    targets = [
        Target(LOST, at_most=most, figure=SERVER_TIME, of=who)
        for who, most in ((MEMORY, MEMORY_TIME), (STORED, STORED_TIME))
    ]
    title = f"resumable, SSE, 200 words, {clients(RESUMABLE_CLIENTS)}"
    calls[LOST] = (wrk, lost, RESUMABLE_CLIENTS)
    starts: dict[str, Start] = {LOST: ours, MEMORY: ours, STORED: not_here("redis-server")}
    with redis_server.RedisServer() if redis_server.BINARY else nullcontext() as redis:
        if redis:
            store = {"url": f"{redis.url}/0", "secret_file": str(secret)}
            starts[STORED] = partial(ours, streaming={"resume": {"store": store}})
        return measured(plan, starts, [Case(title, "response", calls, targets, LOST)])


def _has_all_words(body: bytes) -> bool:
    """Whether there is an event for each; they have numbers, and are not the plain ones."""
    return body.count(b"\ndata: ") + body.startswith(b"data: ") == WORDS
