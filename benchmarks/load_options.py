"""What both commands of the paced load generator take."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from clients.command import option, server_options
from clients.credentials import Credentials
from clients.grpc_messages import Parameter
from clients.tls import Tls

# What each wire is, and the port that it has where none is named.
PORTS = {"grpc": 8081, "triton": 8001, "sse": 8080, "generate": 8080}
WIRES = (
    "grpc: ModelStreamInfer as MLServer has it; triton: the same in Triton's dialect; "
    "sse: generate_stream with a V2 body; generate: with the flat body of Triton's"
)
MAX_STREAMS = 10_000
R = TypeVar("R")


@dataclass(frozen=True)
class Wanted:
    """What both commands take: the server, the pace, and what to print."""

    wire: str
    host: str
    port: int
    model: str
    input: str
    parameters: dict[str, Parameter]
    tls: Tls | None
    credentials: Credentials
    rate: float
    seconds: float
    streams: int
    find: bool
    limit_ms: float
    output: str | None

    @property
    def limit(self) -> float:
        return self.limit_ms / 1e3


def parameter(
    _: click.Context, __: click.Parameter, given: tuple[str, ...]
) -> dict[str, Parameter]:
    """NAME=VALUE, the value as JSON has it where it can be read so, else a text."""
    found: dict[str, Parameter] = {}
    for each in given:
        name, sign, text = each.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found[name] = value if isinstance(value, str | int | float | bool) else text
    return found


def load_options(
    *, model: str, tensor: str, rate: float, wire: str
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The options that both commands have; the command gets them as one Wanted."""
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        server_options(port=PORTS, model=model),
        option("--wire", type=click.Choice(list(PORTS)), default=wire, help=f"{WIRES}."),
        option("--input", "tensor", default=tensor, help="Name of the model's input."),
        option(
            "--parameter",
            "parameters",
            multiple=True,
            callback=parameter,
            help="Request parameter NAME=VALUE; may be repeated.",
        ),
        option(
            "--rate",
            default=rate,
            type=click.FloatRange(min=0, min_open=True),
            help="Items a second of each stream.",
        ),
        option(
            "--seconds",
            default=10.0,
            type=click.FloatRange(min=0.1, max=86_400),
            help="Length of a run.",
        ),
        option(
            "--streams",
            default=1,
            type=click.IntRange(1, MAX_STREAMS),
            help="Streams at once; with --find, the first number to try.",
        ),
        option("--find", is_flag=True, help="Find how many fit within the limit."),
        option(
            "--limit",
            "limit_ms",
            default=100.0,
            type=click.FloatRange(min=0, min_open=True),
            help="Milliseconds that p99 lateness may have.",
        ),
        option("--json", "output", type=click.Path(dir_okay=False), help="Also write JSON here."),
    ]

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def decorated(
            *, timeout: float, tensor: str, wire: str, port: int | None, **given: Any
        ) -> R:
            del timeout  # an answer that has not come by the end of a run counts as missing
            names = Wanted.__dataclass_fields__
            own = {name: value for name, value in given.items() if name not in names}
            mine = {name: value for name, value in given.items() if name in names}
            return command(Wanted(wire=wire, port=port or PORTS[wire], input=tensor, **mine), **own)

        for add in reversed(options):
            decorated = add(decorated)
        return decorated

    return decorate
