"""A port that cannot be had stops the start, with one line."""

import socket

import pytest

from mlserver_streaming.ports import require_free


def complaint(**ports: int | None) -> str:
    with pytest.raises(SystemExit) as caught:
        require_free("127.0.0.1", ports)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} of 127.0.0.1 cannot be listened on" in complaint(http_port=port)
    require_free("127.0.0.1", {"http_port": port, "triton_port": None})


def test_one_port_for_two_servers_is_a_mistake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    said = complaint(http_port=port, metrics_port=None, triton_port=port)
    assert said == f"'http_port' and 'triton_port' are both port {port}."


def test_no_address_of_this_machine() -> None:
    with pytest.raises(SystemExit, match=r"of 192\.0\.2\.1 cannot be listened on"):
        require_free("192.0.2.1", {"http_port": 8080})
