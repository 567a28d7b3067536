"""What HAProxy costs, and what a second replica brings: SSE, unary calls, gRPC streams.

A quiet machine with a core for each replica and two more shows what replicas bring.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from clients.server_process import HOST, free_ports
from deploy.replicas import CONFIG, Balancer, Ports, with_replicas

from ..contenders.contenders import OURS, ours
from ..contenders.peer_servers import Start
from ..contenders.process import Contender
from ..inputs.text_prompt import prompt
from ..loads.first_responses import first_responses
from ..loads.plain_load import h2load, wrk
from ..loads.samples import Target
from .asked import events, messages, unary
from .measured import FIRST_P50, MANY, RATE, Call, Case, Plan, Row, measured

ONE, TWO = "HAProxy, 1 replica", "HAProxy, 2 replicas"
NOTE = ". Of HAProxy, the server's CPU is its own"


def balanced(services: Sequence[Contender], folder: Path, cores: set[int]) -> Contender:
    """HAProxy before services."""
    http, grpc, triton = free_ports(3)
    config = CONFIG.read_text(encoding="utf-8")
    # Free ports are not all further by the same number: REST's servers and gRPC's have their own.
    rest, _, streams = config.partition("\nbackend grpc_streams")
    rest = with_replicas(rest, [(f"{HOST}:{each.http}", each.http) for each in services])
    streams = with_replicas(streams, [(f"{HOST}:{each.grpc}", each.http) for each in services])
    whole = f"{rest}\nbackend grpc_streams{streams}"
    server = Balancer(whole, folder, ports=Ports(http, grpc, triton=triton))
    return Contender(server.command, folder, server.environment, (http, grpc), cores)


def replicas(plan: Plan) -> list[Row]:
    """One process alone, behind HAProxy, and behind it with another beside."""
    services = [ours(plan.folder / f"replica-{index}", plan.all_cores) for index in (1, 2)]
    starts: dict[str, Start] = {
        OURS: lambda folder, cores: services[0],
        ONE: partial(balanced, services[:1]),
        TWO: partial(balanced, services),
    }
    sse, short = events(OURS, "text", prompt(50)), events(OURS, "text", "a")
    kinds: dict[str, Call] = {
        f"text over SSE, {MANY} streams": (wrk, sse, MANY),
        f"unary, {MANY} connections": (wrk, unary(OURS, "text-model", "a"), MANY),
        "text over gRPC, 8 streams": (h2load, messages(OURS, "text", prompt(50)), 8),
        "first response, 1 stream": (first_responses, short, 1),
    }
    cases = []
    for title, call in kinds.items():
        later = title.startswith("first")
        figure = FIRST_P50 if later else RATE
        targets = [Target(OURS, figure=figure, of=who, later=later) for who in (ONE, TWO)]
        calls = dict.fromkeys(starts, call)
        cases.append(Case(f"replicas, {title}", "response", calls, targets, note=NOTE))
    with services[1]:
        return measured(plan, starts, cases, shared=True)
