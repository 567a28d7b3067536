"""What HAProxy costs, and what a second replica brings: SSE, unary generate, gRPC streams.

    python -m benchmarks.replicas

Windows of one contender and the other alternate; what is printed is the median of their ratios. It
takes HAProxy and wrk (Debian: haproxy, wrk); what lacks one is left out.
A quiet machine with a core for each replica and two more shows what replicas bring.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import click
import httpx

from clients.grpc_client import GrpcTextClient
from clients.server_process import HOST, free_ports
from clients.service import Service
from deploy.replicas import CONFIG, Balancer, Ports, with_replicas

WORDS = 50
TEXT = " ".join(map(str, range(WORDS)))
STREAM = json.dumps({"text_input": TEXT, "parameters": {"delay": 0}})
SHORT = json.dumps({"text_input": "a", "parameters": {"delay": 0}})
FIRSTS = 200
Measure = Callable[["Where"], float]


class Where:
    """Ports of a service, or of HAProxy before several."""

    def __init__(self, http: int, grpc: int) -> None:
        self.url, self.grpc = f"http://{HOST}:{http}/v2/models/text-model", grpc


def per_second(where: Where, call: str, body: str, connections: int, seconds: float) -> float:
    """Answers a second, by wrk."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f"wrk.method, wrk.body = 'POST', [[{body}]]\n"
            "wrk.headers['Content-Type'] = 'application/json'\n"
        )
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", script.name]
        said = subprocess.run([*command, f"{where.url}/{call}"], capture_output=True, text=True)
    found = re.search(r"Requests/sec:\s+([\d.]+)", said.stdout)
    if found is None or "Non-2xx" in said.stdout:
        raise SystemExit(f"wrk failed: {said.stdout}{said.stderr}")
    return float(found[1])


def grpc_words(where: Where, streams: int, seconds: float) -> float:
    """Responses a second over one channel with so many streams."""

    async def run() -> float:
        counted, end = 0, time.perf_counter() + seconds

        async def ask(client: GrpcTextClient) -> None:
            nonlocal counted
            while time.perf_counter() < end:
                async for _ in client.words(TEXT, {"delay": 0}):
                    counted += 1

        began = time.perf_counter()
        async with GrpcTextClient(port=where.grpc) as client:
            await asyncio.gather(*(ask(client) for _ in range(streams)))
        return counted / (time.perf_counter() - began)

    return asyncio.run(run())


def first_response_ms(where: Where) -> float:
    """The median until a stream's first event, one at a time, on a connection that is open."""
    found = []
    with httpx.Client(trust_env=False) as client:
        for _ in range(FIRSTS):
            began = time.perf_counter()
            with client.stream("POST", f"{where.url}/generate_stream", content=SHORT) as answer:
                events = answer.iter_bytes()
                next(events)
                found.append(time.perf_counter() - began)
                list(events)  # to its end, so that the connection is used again
    return statistics.median(found) * 1000


def alternate(
    name: str, unit: str, first: Where, second: Where, measure: Measure, windows: int
) -> None:
    """Print both medians and that of the pairs' ratios (or, of times, differences)."""
    pairs = [(measure(first), measure(second)) for _ in range(windows)]
    if not all(first for first, _ in pairs):
        raise SystemExit(f"{name}: no answer in {unit} at all; give it longer --seconds")
    before, after = (statistics.median(side) for side in zip(*pairs, strict=True))
    if unit == "ms":
        said = f"{statistics.median(b - a for a, b in pairs):+.3f} ms"
    else:
        said = f"{statistics.median(b / a for a, b in pairs):.3f}"
    click.echo(f"{name:42} {before:12,.3f} {after:12,.3f} {unit:10} {said}")


@click.command()
@click.option("--replicas", default=2, show_default=True, help="How many are beside one process.")
@click.option("--windows", default=5, show_default=True, help="Pairs of windows for each row.")
@click.option("--seconds", default=2.0, show_default=True, help="How long each window is.")
def main(replicas: int, windows: int, seconds: float) -> None:
    """Direct beside HAProxy with one replica; one process beside HAProxy with several."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        services = [Service(Path(folder) / f"{index}.log") for index in range(replicas)]
        with ThreadPoolExecutor() as pool:
            for each in pool.map(Service.start, services):
                stack.callback(each.stop)
        direct = Where(services[0].http, services[0].grpc)
        one = _balanced(stack, services[:1], Path(folder) / "one")
        all_of_them = _balanced(stack, services, Path(folder) / "all")
        click.echo(f"{'':42} {'first':>12} {'second':>12}")
        rows: list[tuple[str, str, Measure]] = []
        if shutil.which("wrk"):
            rows += [
                (
                    "text over SSE, 32 streams",
                    "streams/s",
                    _wrk("generate_stream", STREAM, seconds),
                ),
                ("unary generate, 32 connections", "answers/s", _wrk("generate", SHORT, seconds)),
            ]
        else:
            click.echo("wrk is not here (Debian: apt-get install wrk)")
        rows.append(
            ("text over gRPC, 8 streams", "responses/s", lambda at: grpc_words(at, 8, seconds))
        )
        click.echo("first: one process, direct; second: HAProxy before the same")
        for name, unit, measure in rows:
            alternate(name, unit, direct, one, measure, windows)
        alternate("first response, one stream", "ms", direct, one, first_response_ms, windows)
        click.echo(f"first: one process, direct; second: HAProxy before {replicas}")
        for name, unit, measure in rows:
            alternate(name, unit, direct, all_of_them, measure, windows)


def _wrk(call: str, body: str, seconds: float) -> Measure:
    return lambda where: per_second(where, call, body, 32, seconds)


def _balanced(stack: ExitStack, services: list[Service], folder: Path) -> Where:
    """HAProxy before these; its gRPC port is before MLServer's only."""
    http, grpc, triton = free_ports(3)
    config = CONFIG.read_text(encoding="utf-8")
    # Free ports are not all further by the same number: REST's servers and gRPC's have their own.
    rest, _, streams = config.partition("\nbackend grpc_streams")
    rest = with_replicas(rest, [(f"{HOST}:{each.http}", each.http) for each in services])
    streams = with_replicas(streams, [(f"{HOST}:{each.grpc}", each.http) for each in services])
    whole = f"{rest}\nbackend grpc_streams{streams}"
    stack.enter_context(Balancer(whole, folder, ports=Ports(http, grpc, triton=triton)))
    return Where(http, grpc)


if __name__ == "__main__":
    main()
