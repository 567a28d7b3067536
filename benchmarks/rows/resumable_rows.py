"""What a stream costs that outlives its connection: kept here, and in a store for others."""

import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from clients.server_process import HOST, free_ports

from ..contenders.contenders import ours
from ..contenders.peer_servers import Start
from ..contenders.process import Contender
from ..inputs.text_prompt import WORDS, prompt, v2_body
from ..loads.calls import HttpCall
from ..loads.plain_load import wrk
from ..loads.samples import Target
from .measured import SERVER_TIME, Case, Plan, Row, measured

OFF, MEMORY, STORED = "not resumable", "resumable", "resumable, Redis"
CLIENTS = 4
MEMORY_TIME, STORED_TIME = 1 / 0.8, 1 / 0.4


def resumable(plan: Plan) -> list[Row]:
    """CPU time of the service for a response over SSE."""

    path, body = "/v2/models/text-model/generate_stream", v2_body(prompt(), resumable=True)
    kept = (wrk, HttpCall(path, body, has_all_words, WORDS), CLIENTS)
    lost = (wrk, HttpCall(path, v2_body(prompt()), has_all_words, WORDS), CLIENTS)
    with _redis(plan.folder / "redis", plan.all_cores) as store:
        starts: dict[str, Start] = {OFF: ours, MEMORY: ours}
        calls = {OFF: lost, MEMORY: kept}
        targets = [Target(OFF, at_most=MEMORY_TIME, figure=SERVER_TIME, of=MEMORY)]
        if store is not None:
            starts[STORED] = partial(ours, streaming={"resume": {"store": store}})
            calls[STORED] = kept
            targets.append(Target(OFF, at_most=STORED_TIME, figure=SERVER_TIME, of=STORED))
        title = f"resumable, SSE, 200 words, {CLIENTS} clients"
        return measured(plan, starts, [Case(title, "response", calls, tuple(targets), OFF)])


def has_all_words(body: bytes) -> bool:
    return body.count(b"\ndata: ") + body.startswith(b"data: ") == WORDS


@contextmanager
def _redis(folder: Path, cores: set[int]) -> Iterator[dict[str, str] | None]:
    """The settings of a store of this benchmark's own; None where there is none to start."""
    binary = shutil.which("redis-server")
    if binary is None:
        print("redis-server is not installed: its row is left out", file=sys.stderr)
        yield None
        return
    (port,) = free_ports(1)
    folder.mkdir()
    (secret := folder / "secret").write_text(secrets.token_hex())
    secret.chmod(0o600)
    command = [binary, "--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder)]
    with Contender(command, folder, {}, (port, 0), cores, ready_path=""):
        yield {"url": f"redis://{HOST}:{port}/0", "secret_file": str(secret)}
