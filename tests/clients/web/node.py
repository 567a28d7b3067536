"""Runs a file of tests that are written in JavaScript."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed (Debian: nodejs)")
# Before Node 22 it has no WebSocket unless it is told to.
FLAGS = ("--experimental-websocket", "--no-warnings")


async def run_node(file: Path, **environment: str) -> None:
    """Run it, and fail as it fails."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        *FLAGS,
        str(file),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
