import pytest

from clients.address import is_loopback, join_address


def test_an_ipv6_host_gets_brackets():
    assert join_address("example.org", 80) == "example.org:80"
    assert join_address("::1", 80) == "[::1]:80"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "::1"])
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "localhost.example.org"])
def test_other_machines(host):
    assert not is_loopback(host)
