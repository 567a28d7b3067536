"""Whose request it is, behind a proxy: told by one that is trusted, where it says anything."""

import pytest

from mlserver_streaming.rest.proxy_headers import ProxyHeaders

PROXY, STRANGER, CLIENT = "127.0.0.1", "192.0.2.9", "203.0.113.7"
SAYS_WHO = (b"x-forwarded-for", CLIENT.encode())
SAYS_HOW = (b"x-forwarded-proto", b"https")


@pytest.mark.parametrize(
    ("peer", "headers", "client", "scheme"),
    [
        (PROXY, [], PROXY, "http"),
        (PROXY, [(b"host", b"a"), SAYS_WHO, SAYS_HOW], CLIENT, "https"),
        (PROXY, [SAYS_HOW], PROXY, "https"),
        (STRANGER, [SAYS_WHO, SAYS_HOW], STRANGER, "http"),
    ],
)
async def test_only_a_trusted_proxy_says_who_asks(peer, headers, client, scheme):
    asked = []

    async def app(scope, receive, send):
        asked.append((scope["client"][0], scope["scheme"]))

    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": headers}
    await ProxyHeaders(app, PROXY)(scope, None, None)
    assert asked == [(client, scheme)]


async def test_a_life_span_has_no_headers():
    async def app(scope, receive, send):
        assert scope == {"type": "lifespan"}

    await ProxyHeaders(app, PROXY)({"type": "lifespan"}, None, None)
