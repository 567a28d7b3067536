"""Who is on this host."""

import pytest

from mlserver_streaming.regions.peers import is_local
from mlserver_streaming.rpc.shared_memory import host_of


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "", None])
def test_loopback_addresses_and_unix_sockets_are(host: str | None) -> None:
    assert is_local(host, {})


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "192.168.1.2", "8.8.8.8", "fe80::1%eth0", "::ffff:10.0.0.1", "0.0.0.0", "?"],
)
def test_other_addresses_are_not(host: str) -> None:
    assert not is_local(host, {})


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_nor_is_who_comes_by_a_proxy(header: str) -> None:
    assert not is_local("127.0.0.1", {header: "10.0.0.1"})


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:50000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:50000", "::1"),
        ("ipv6:[::1]:50000", "::1"),
        ("unix:/run/a.sock", None),
        ("unix:", None),
        ("ipv4", "?"),
        ("", "?"),
    ],
)
def test_a_grpc_peer_s_address(peer: str, host: str | None) -> None:
    assert host_of(peer) == host
