"""HTTP that no well-behaved client speaks: a status, and not a line of traceback."""

from __future__ import annotations

import asyncio

import pytest

from tests.live.service import Service
from tests.live.watch import PATIENCE

FLAT = b'{"text_input": "a b", "delay": 0}'
GENERATE = b"/v2/models/text-model/generate"
PORTS = {"http": b"/v2/health/live", "metrics": b"/metrics"}


async def answer(port: int, request: bytes) -> bytes:
    """All that comes until the service closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.close()


def get(target: bytes, *lines: bytes, version: bytes = b"1.1") -> bytes:
    head = [b"GET %b HTTP/%b" % (target, version), *lines, b"Connection: close", b"", b""]
    return b"\r\n".join(head)


def post(target: bytes, body: bytes, *lines: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    head = [b"POST %b HTTP/1.1" % target, *lines, length, b"Connection: close", b"", body]
    return b"\r\n".join(head)


@pytest.fixture(scope="module", autouse=True)
def logged_before(service: Service) -> int:
    """Where this file's part of the log begins: other tests share the service."""
    return len(service.log.read_text())


HOSTS = [
    [b"Host: ["],
    [b"Host: x?"],
    [b"Host: x/"],
    [b"Host: x#y"],
    [b"Host: a@b"],
    [b"Host: a b"],
    [b"Host: [::::]"],
    [b"Host: [1.2.3.4]"],
    [b"Host: x:99999"],
    [b"Host: x:y"],
    [b"Host: \xff"],
    [b"Host: " + b"x" * 1000],
    [b"Host: a", b"Host: a"],
    [],
]


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("host", HOSTS, ids=repr)
async def test_a_host_that_is_none_is_refused(service: Service, port: str, host: list[bytes]):
    said = await answer(getattr(service, port), get(PORTS[port], *host))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":"The request must have one header \'Host\'' in said


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    "request_line",
    [
        get(b"%b", b"Host: a"),
        get(b"%b", b"Host: a_b.c-d:8080"),
        get(b"%b", b"Host: [::1]:8080"),
        get(b"%b", b"Host:"),
        get(b"%b", version=b"1.0"),
        get(b"http://other%b", b"Host: a"),
        get(b"%b", b"Host: a", b"X-Forwarded-For: [, ,x:y,%", b"X-Forwarded-Proto: [//"),
        get(b"%b", b"Host: a", b"X-Forwarded-Host: [", b"Forwarded: host=["),
        get(b"%b?%%ff=[", b"Host: a"),
        get(b"%b", b"Host: a", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    ],
    ids=repr,
)
async def test_what_is_odd_but_allowed_is_answered(
    service: Service, port: str, request_line: bytes
):
    said = await answer(getattr(service, port), request_line.replace(b"%b", PORTS[port]))
    assert said.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "target",
    [b"/\xff", b"*", b"http://[", b"http://[/v2", b"//", b"/v2/%ff", b"/v2/models/%00%0a/infer"],
)
async def test_targets_that_lead_nowhere(service: Service, target: bytes):
    for port in PORTS:
        said = await answer(getattr(service, port), get(target, b"Host: a"))
        assert said[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405")


async def test_the_flat_form_looks_at_the_path_alone(service: Service):
    said = await answer(service.http, post(GENERATE, FLAT, b"Host: a"))
    assert b'"text_output":"a b"' in said
    said = await answer(service.http, post(GENERATE, FLAT, b"Host: a?"))
    assert said.startswith(b"HTTP/1.1 400 ")


def test_nothing_of_all_that_was_our_fault(service: Service, logged_before: int) -> None:
    log = service.log.read_text()[logged_before:]
    assert "Traceback" not in log
    assert "Exception in ASGI" not in log
