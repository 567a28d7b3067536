"""What the cache gives, and what it costs where nothing is ever asked twice."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from clients.server_process import HOST, free_ports

from ..contenders.contenders import OURS, change_model, ours
from ..contenders.peer_servers import Start
from ..contenders.process import Contender
from ..inputs.text_prompt import WORDS, are_events, prompt, v2_body
from ..loads.calls import HttpCall
from ..loads.plain_load import SEED, wrk
from ..loads.samples import Target
from .asked import frame_calls
from .measured import MANY, Call, Case, Plan, Row, clients, measured

OFF, NEVER = "computed", "computed, cache on, no hit ever"
HIT, MEMCACHED = "hit, in-process", "hit, memcached"
DELAY_SECONDS = 0.005
IN_FLIGHT = 8
TEXT_TARGET, FRAME_TARGET, COST_TARGET = 20, 3, 0.9


def cache(plan: Plan) -> list[Row]:
    """Hits beside computing; and computing with the cache on beside computing without."""
    with _memcached(plan.folder / "memcached", plan.all_cores) as address:
        slow = [_text("5 ms a word", 1, TEXT_TARGET), _text("5 ms a word", MANY, None)]
        rows = measured(plan, _starts(address, DELAY_SECONDS), slow)
        rows += measured(plan, _starts(address, 0), [_text("no delay", 1, None, None)])
        again = frame_calls(IN_FLIGHT)[OURS]
        hit = (*again, False, False, 2)
        calls = {OFF: again, NEVER: (*again, True), HIT: hit, MEMCACHED: hit}
        title = f"cache, JPEG 640x480, gRPC stream, {IN_FLIGHT} in flight"
        case = Case(title, "frame", calls, _targets(FRAME_TARGET, COST_TARGET), OFF)
        return rows + measured(plan, _starts(address, 0), [case], shared=True)


def _text(pace: str, count: int, hits: float | None, cost: float | None = COST_TARGET) -> Case:
    def call(cache: str, **parameters: int) -> Call:
        right, body = partial(are_events, prompt(), cache=cache), v2_body(prompt(), **parameters)
        path = "/v2/models/text-model/generate_stream"
        return (wrk, HttpCall(path, body, right, WORDS, remembered=cache == "hit"), count)

    hit = call("hit")
    calls = {OFF: call(""), NEVER: call("miss", seed=SEED), HIT: hit, MEMCACHED: hit}
    title = f"cache, 200 words, {pace}, SSE, {clients(count)}"
    return Case(title, "response", calls, _targets(hits, cost), OFF)


def _targets(hits: float | None, cost: float | None) -> tuple[Target, ...]:
    return Target(OFF, hits, of=HIT), Target(OFF, of=MEMCACHED), Target(OFF, cost, of=NEVER)


def _starts(memcached: str | None, delay: float) -> dict[str, Start]:
    """A service each; no memcached, no row of its."""

    def start(block: dict[str, Any] | None) -> Start:
        def made(folder: Path, cores: set[int]) -> Contender:
            server = ours(folder, cores, streaming={"cache": block or {}})
            for model, extra in (("text-model", {"delay": delay}), ("jpeg-model", {})):
                change_model(folder, model, {"cache_enabled": block is not None}, **extra)
            return server

        return made

    shared = {"backend": "memcached", "servers": [memcached]}
    return {OFF: start(None), NEVER: start({}), HIT: start({}), MEMCACHED: start(shared)}


@contextmanager
def _memcached(folder: Path, cores: set[int]) -> Iterator[str | None]:
    """A memcached of this benchmark's own; None where there is none to start."""
    binary = shutil.which("memcached")
    if binary is None:
        print("memcached is not installed: its rows are left out", file=sys.stderr)
        yield None
        return
    (port,) = free_ports(1)
    # Root must say whom it becomes; anybody else may not.
    command = [binary, "-l", HOST, "-p", str(port), "-U", "0", "-m", "256", "-u", "nobody"]
    folder.mkdir()
    with Contender(command, folder, {}, (port, 0), cores, ready_path=""):
        yield f"{HOST}:{port}"
