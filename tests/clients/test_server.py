from clients.credentials import Credentials
from clients.server import Server
from clients.tls import Tls


def test_its_url_says_whether_the_connection_is_secured():
    assert Server("::1", 80).url == "http://[::1]:80"
    assert Server("host", 443, Tls()).url == "https://host:443"


def test_a_proxy_is_not_asked_for_this_machine():
    assert Server("host", 80).may_use_proxy
    assert not Server("localhost", 80).may_use_proxy


def test_a_server_shows_no_secret():
    assert "sesame" not in repr(Server("host", 80, None, Credentials("sesame", "sesame")))
