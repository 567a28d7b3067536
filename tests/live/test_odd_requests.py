"""HTTP that no well-behaved client speaks: a status, and not a line of traceback."""

from __future__ import annotations

import asyncio
import gzip

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
        get(b"%b", b"Host: a", b"Connection: Upgrade", b"Upgrade: websocket"),
        get(b"%b", b"Host: a", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"),
        get(b"%b", b"Host: a", version=b"1.2"),
        get(b"%b", b"Host: a").replace(b"GET", b"HEAD"),
    ],
    ids=repr,
)
async def test_what_is_odd_but_allowed_is_answered(
    service: Service, port: str, request_line: bytes
):
    said = await answer(getattr(service, port), request_line.replace(b"%b", PORTS[port]))
    assert said.startswith(b"HTTP/1.1 200 ")


REFUSED = {
    505: get(b"%b", b"Host: a", version=b"2.0"),
    417: get(b"%b", b"Host: a", b"Expect: x"),
    501: get(b"%b", b"Host: a", b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    400: get(b"%b", b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
}


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("status", REFUSED)
async def test_what_http_does_not_allow_is_refused(service: Service, port: str, status: int):
    said = await answer(getattr(service, port), REFUSED[status].replace(b"%b", PORTS[port]))
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert b'\r\n\r\n{"error":"' in said


MODEL = "/v2/models/text-model"
GETS = {
    "http": ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/docs", "/v2/docs/dataplane.json"]
    + [
        MODEL + each for each in ("", "/ready", "/docs", "/docs/dataplane.json", "/versions/v1.2.3")
    ],
    "metrics": ["/metrics", "/v2/health/live"],
}


@pytest.mark.parametrize(("port", "target"), [(port, each) for port in GETS for each in GETS[port]])
async def test_head_wherever_get_is(service: Service, port: str, target: str):
    asked = get(target.encode(), b"Host: a")
    got = await answer(getattr(service, port), asked)
    head = await answer(getattr(service, port), asked.replace(b"GET", b"HEAD"))
    assert head.endswith(b"\r\n\r\n")
    assert head[:13] == got[:13]

    def fields(said: bytes) -> list[bytes]:
        return sorted(line.split(b":")[0] for line in said.split(b"\r\n\r\n")[0].split(b"\r\n"))

    assert fields(head) == [each for each in fields(got) if each != b"transfer-encoding"]


async def test_what_is_allowed_instead_names_head_too(service: Service):
    for target in (b"/v2", b"/v2/health/live", b"/v2/docs"):
        said = await answer(service.http, post(target, b"{}", b"Host: a"))
        assert said.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nallow: GET, HEAD\r\n" in said
        assert b"it takes GET, HEAD." in said


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0, x"])
async def test_a_call_that_asks_to_upgrade_keeps_its_body(service: Service, upgrade: bytes):
    said = await answer(
        service.http,
        post(GENERATE, FLAT, b"Host: a", b"Connection: Upgrade", b"Upgrade: " + upgrade),
    )
    assert b'"text_output":"a b"' in said


async def test_codings_of_the_body_that_are_known(service: Service):
    twice = gzip.compress(FLAT[:9]) + gzip.compress(FLAT[9:])
    said = await answer(
        service.http, post(GENERATE, twice, b"Host: a", b"Content-Encoding: x-gzip")
    )
    assert b'"text_output":"a b"' in said
    said = await answer(service.http, post(GENERATE, FLAT, b"Host: a", b"Content-Encoding: br"))
    assert said.startswith(b"HTTP/1.1 415 ")
    assert b"\r\naccept-encoding: gzip, deflate\r\n" in said


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
