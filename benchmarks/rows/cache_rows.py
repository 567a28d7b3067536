"""What the cache gives, and what it costs where nothing is ever asked twice."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from clients.server_process import HOST, free_ports

from ..contenders.contenders import ours
from ..contenders.process import Contender
from ..inputs.frames import frame_requests
from ..loads.cache_load import frame_stream, text_once, text_streams
from ..loads.load_process import LoadProcess
from ..loads.samples import Sample, alternate, ratio
from .rows import PINNED, Plan, Row
from .text_rows import PROMPT

OFF, NEVER = "computed", "computed, cache on, no hit ever"
HIT, SHARED = "hit, in-process", "hit, memcached"
DELAY_SECONDS = 0.005
MANY, IN_FLIGHT = 32, 8
TEXT_TARGET, FRAME_TARGET, COST_TARGET = 20, 3, 0.9


def cache(plan: Plan) -> list[Row]:
    """Hits beside computing; and computing with the cache on beside computing without."""
    rows = []
    with ExitStack() as stack:
        memcached = stack.enter_context(_memcached(plan.folder / "memcached", plan.all_cores))
        load = stack.enter_context(LoadProcess(plan.client_cores))
        servers: dict[str, Contender] = {}
        delayed: dict[str, Contender] = {}
        for found, delay in ((servers, 0.0), (delayed, DELAY_SECONDS)):
            for name, block in _contenders(memcached).items():
                folder = plan.folder / f"cache-{delay:g}-{len(found)}"
                server = _server(folder, plan.server_cores, delay, block)
                found[name] = stack.enter_context(server)
        for clients in (1, MANY):
            rows.append(_text(plan, load, delayed, clients, "5 ms a word", TEXT_TARGET))
        rows.append(_text(plan, load, servers, 1, "no delay", None))
        with LoadProcess(plan.all_cores) as shared:
            rows.append(_frames(plan, shared, memcached))
    return rows


def _text(
    plan: Plan,
    load: LoadProcess,
    servers: dict[str, Contender],
    clients: int,
    pace: str,
    target: float | None,
) -> Row:
    for name in servers.keys() & {HIT, SHARED}:
        load.measure(servers[name], text_once, PROMPT)

    def asking(name: str, again: bool, way: str) -> Callable[[], Sample]:
        server = servers[HIT if name == NEVER else name]
        return partial(
            load.measure, server, text_streams, PROMPT, clients, plan.seconds, again, way
        )

    contenders = {OFF: asking(OFF, True, ""), NEVER: asking(NEVER, False, "miss")}
    contenders |= {name: asking(name, True, "hit") for name in servers if name != OFF}
    samples = alternate(plan.rounds, contenders)
    hits = [
        ratio(samples, name, OFF, at_least=target if clients == 1 else None)
        for name in (HIT, SHARED)
        if name in samples
    ]
    cost = ratio(samples, NEVER, OFF, at_least=COST_TARGET if target else None)
    title = f"cache, 200 words, {pace}, SSE, {clients} client{'s' if clients > 1 else ''}"
    return Row(title, "response", PINNED, samples, (*hits, cost))


def _frames(plan: Plan, load: LoadProcess, memcached: str | None) -> Row:
    requests = frame_requests("jpeg-model")
    blocks = _contenders(memcached)
    numbers = iter(range(1_000_000))

    def asking(name: str, again: bool, way: str) -> Callable[[], Sample]:
        def measure() -> Sample:
            # A fresh server a window: see jpeg_rows.
            folder = plan.folder / f"cache-frames-{next(numbers)}"
            block = blocks[HIT if name == NEVER else name]
            with _server(folder, plan.all_cores, 0, block) as server:
                return load.measure(
                    server, frame_stream, requests, IN_FLIGHT, plan.seconds, again, way
                )

        return measure

    contenders = {OFF: asking(OFF, True, ""), NEVER: asking(NEVER, False, "miss")}
    contenders |= {name: asking(name, True, "hit") for name in blocks if name != OFF}
    samples = alternate(plan.rounds, contenders)
    ratios = [ratio(samples, HIT, OFF, at_least=FRAME_TARGET)]
    if SHARED in samples:
        ratios.append(ratio(samples, SHARED, OFF))
    ratios.append(ratio(samples, NEVER, OFF, at_least=COST_TARGET))
    title = f"cache, JPEG 640x480, gRPC stream, {IN_FLIGHT} in flight"
    return Row(title, "frame", "server and client share two cores", samples, tuple(ratios))


def _contenders(memcached: str | None) -> dict[str, dict[str, Any] | None]:
    """The `streaming.cache` block of each; None for a model without a cache."""
    found: dict[str, dict[str, Any] | None] = {OFF: None, HIT: {}}
    if memcached is not None:
        found[SHARED] = {"backend": "memcached", "servers": [memcached]}
    return found


def _server(folder: Path, cores: set[int], delay: float, block: dict[str, Any] | None) -> Contender:
    server = ours(folder, cores, streaming={"cache": block or {}})
    for model in ("text-model", "jpeg-model"):
        path = folder / "model-settings" / model / "model-settings.json"
        settings = json.loads(path.read_text())
        settings["cache_enabled"] = block is not None
        if model == "text-model":
            settings["parameters"]["extra"]["delay"] = delay
        path.write_text(json.dumps(settings))
    return server


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
