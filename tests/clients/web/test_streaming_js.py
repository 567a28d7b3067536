"""The JavaScript client under Node: bytes, events, sockets."""

from pathlib import Path

from .node import needs_node, run_node
from .stand_in import stand_in

FOLDER = Path(__file__).parent
pytestmark = needs_node


async def test_its_pure_parts() -> None:
    await run_node(FOLDER / "pure.mjs")


async def test_its_sockets() -> None:
    async with stand_in() as url:
        await run_node(FOLDER / "sockets.mjs", STAND_IN=url)


async def test_its_streams_that_outlive_their_sockets() -> None:
    async with stand_in() as url:
        await run_node(FOLDER / "sockets_resuming.mjs", STAND_IN=url)


async def test_its_streams_that_outlive_their_connections() -> None:
    await run_node(FOLDER / "resuming.mjs")
