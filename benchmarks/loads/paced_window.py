"""One run of paced streams against a contender, in the load process."""

from collections.abc import Sequence

from ..contenders.process import Target
from .pace import Pace, Paced
from .paced_links import GrpcLink, HttpLink, SseLink, UnaryLink
from .paced_load import Link, run_paced

# All streams begin within this time.
RAMP_SECONDS = 0.5


async def paced_window(
    target: Target, wire: str, requests: Sequence[bytes], streams: int, rate: float, seconds: float
) -> Paced:
    """`streams` streams at `rate`, timed from their requests on.

    Args:
        wire: grpc, triton, unary and http take a request an item; sse answers one with tokens.
    """
    address = f"127.0.0.1:{target.grpc}"

    def link() -> Link:
        match wire:
            case "grpc" | "triton":
                return GrpcLink(address, requests, wrapped=wire == "triton")
            case "unary":
                return UnaryLink(address, requests)
            case "http":
                return HttpLink(target.http, requests)
            case _:
                return SseLink("127.0.0.1", target.http, requests, tokens=True)

    links = [link() for _ in range(streams)]
    return await run_paced(links, Pace(streams, rate, seconds, min(RAMP_SECONDS, seconds / 2)))
