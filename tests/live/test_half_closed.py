"""Clients of a real service that close their sending side: who reads on gets all, who goes ends."""

from __future__ import annotations

import asyncio
import gzip
import json
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.live.rest_calls import open_gate, path, probe
from tests.live.service import Service
from tests.live.sockets import connect, request
from tests.live.watch import PATIENCE, closed, steps, wait_until
from tests.rest.serving import Received

CALLS = ["infer", "generate_stream"]


def gated(call: str, folder: Path, encoding: str = "identity") -> bytes:
    """A call whose second step waits for a gate."""
    body = probe(steps=2, gate=str(folder / "gate"), path=str(folder / "path"))
    return request(path("probe", call), json.dumps(body).encode(), Accept_Encoding=encoding)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("call", CALLS)
async def test_who_reads_on_gets_all(service: Service, tmp_path: Path, call: str, encoding: str):
    reader, writer = await connect(service)
    writer.write(gated(call, tmp_path, encoding))
    writer.write_eof()
    await wait_until(lambda: steps(tmp_path / "path") == 1)
    # Long enough for the service to have asked whether anybody is there.
    await asyncio.sleep(1)
    open_gate(tmp_path / "gate", 1)
    said = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    response = HTTPResponse(Received(said))  # type: ignore[arg-type]
    response.begin()
    body = response.read()
    if response.getheader("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    assert response.status == 200
    # All of it: what the probe says at its steps, and no error.
    for step in "01":
        assert f'"{step}"'.encode() in body
    assert b"error" not in body


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("shut", [False, True])
async def test_who_goes_is_gone(service: Service, tmp_path: Path, call: str, shut: bool):
    _, writer = await connect(service)
    writer.write(gated(call, tmp_path))
    await wait_until(lambda: steps(tmp_path / "path") == 1)
    if shut:
        writer.write_eof()
        await asyncio.sleep(1)
        assert not closed(tmp_path / "path")
    writer.close()
    # The gate stays shut.
    await wait_until(lambda: closed(tmp_path / "path"))
