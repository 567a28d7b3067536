"""What the cache gives, and what it costs where nothing is ever asked twice."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from tests import memcached

from ..contenders.contenders import OURS, change_model, ours
from ..contenders.peer_servers import Start, not_here
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
IN_FLIGHT, MEGABYTES = 8, 256
TEXT_TARGET, FRAME_TARGET, COST_TARGET = 20, 3, 0.9


def cache(plan: Plan) -> list[Row]:
    """Hits beside computing; and computing with the cache on beside computing without."""
    with memcached.Memcached(MEGABYTES) if memcached.BINARY else nullcontext() as server:
        address = server.address if server else ""
        slow = [_text("5 ms a word", 1, TEXT_TARGET), _text("5 ms a word", MANY, None)]
        rows = measured(plan, _starts(address, DELAY_SECONDS), slow)
        again = frame_calls(IN_FLIGHT)[OURS]
        hit = (*again, False, False, 2)
        calls = {OFF: again, NEVER: (*again, True), HIT: hit, MEMCACHED: hit}
        fast, title = _starts(address, 0), f"JPEG 640x480, gRPC stream, {IN_FLIGHT} in flight"
        rows += measured(plan, fast, [_text("no delay", 1, None, None)])
        case = Case(f"cache, {title}", "frame", calls, _targets(FRAME_TARGET, COST_TARGET), OFF)
        return rows + measured(plan, fast, [case], shared=True)


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


def _starts(address: str, delay: float) -> dict[str, Start]:
    """A service each.

    Args:
        address: memcached's; empty where there is none.
    """

    def start(block: dict[str, Any] | None) -> Start:
        def made(folder: Path, cores: set[int]) -> Contender:
            server = ours(folder, cores, streaming={"cache": block or {}})
            for model, extra in (("text-model", {"delay": delay}), ("jpeg-model", {})):
                change_model(folder, model, {"cache_enabled": block is not None}, **extra)
            return server

        return made

    shared = {"backend": "memcached", "servers": [address]}
    stored = start(shared) if address else not_here("memcached")
    return {OFF: start(None), NEVER: start({}), HIT: start({}), MEMCACHED: stored}
