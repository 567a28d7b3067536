"""N instances on one machine: where each is, and what HAProxy is told of them."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clients.errors import ClientError
from deploy import replicas
from deploy.replicas import CONFIG, Ports, check_settings, front_ports, with_replicas
from mlserver_streaming.settings import StreamingSettings

PLAIN = CONFIG.read_text(encoding="utf-8")
TWO = [("127.0.0.1:+100", 8180), ("127.0.0.1:+200", 8280)]


def check(config: str, folder: Path) -> str:
    """What HAProxy says of a configuration; nothing where all is well."""
    (folder / "haproxy.cfg").write_text(config)
    try:
        command = [replicas.haproxy(), "-c", "-q", "-f", str(folder / "haproxy.cfg")]
    except ClientError as error:
        pytest.skip(str(error))
    return subprocess.run(command, capture_output=True, text=True).stderr


@pytest.mark.parametrize("config", [PLAIN, with_replicas(PLAIN, TWO)], ids=["names", "addresses"])
def test_haproxy_takes_the_configuration(config: str, tmp_path: Path) -> None:
    assert check(config, tmp_path) == ""


def test_every_backend_has_every_replica_and_asks_its_own_readiness() -> None:
    config = with_replicas(PLAIN, TWO)
    assert "server-template replica" not in config.partition("\nbackend")[2]
    backends = config.split("\nbackend ")[1:]
    assert [name.partition("\n")[0] for name in backends] == [
        *("rest_streams", "rest_sequences", "grpc_streams", "grpc_sequences"),
    ]
    for backend in backends:
        servers = [line.split() for line in backend.splitlines() if " server " in line]
        assert [server[1:3] for server in servers] == [
            ["replica1", "127.0.0.1:+100"],
            ["replica2", "127.0.0.1:+200"],
        ]
        assert [server[server.index("port") + 1] for server in servers] == ["8180", "8280"]
        # Checks speak HTTP/1.1 wherever the traffic is HTTP/2.
        assert all(("proto" in server) == ("check-proto" in server) for server in servers)


def test_no_way_leads_to_the_metrics() -> None:
    assert "8082" not in "".join(line for line in PLAIN.splitlines() if not line.startswith("#"))


def test_no_two_replicas_share_a_port() -> None:
    ports = [Ports().further(replicas.STEP * index) for index in range(replicas.MOST + 1)]
    used = [port for each in ports for port in vars(each).values()]
    assert len(set(used)) == len(used)
    assert max(used) < 65536


def test_clients_come_where_one_instance_would_listen() -> None:
    settings = StreamingSettings(triton_port=9001)
    assert front_ports(settings, {"MLSERVER_HTTP_PORT": "9000"}) == Ports(9000, 8081, 8082, 9001)


@pytest.mark.parametrize(
    ("streaming", "file", "said"),
    [
        ({}, {"http_port": 8080}, "http_port"),
        ({"tls": {"certificate": "a", "key": "b"}}, {}, "give the certificate to HAProxy"),
    ],
)
def test_settings_that_several_instances_cannot_share(
    streaming: Any, file: dict[str, object], said: str
) -> None:
    with pytest.raises(ClientError, match=said):
        check_settings(StreamingSettings(**streaming), file)


def test_what_haproxy_needs_for_replicas_of_systemd_can_be_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = CliRunner().invoke(replicas.main, ["2", "--config"])
    assert done.output == with_replicas(PLAIN, TWO)


def test_without_haproxy_one_line_says_where_it_is_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replicas, "PATH", "")
    done = CliRunner().invoke(replicas.main, ["2"])
    assert done.exit_code == 1
    assert "make haproxy" in done.output


def test_a_port_that_another_haproxy_would_share_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        replicas.haproxy()
    except ClientError as error:
        pytest.skip(str(error))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MLSERVER_HTTP_PORT", str(port))
        done = CliRunner().invoke(replicas.main, ["2"])
    assert done.exit_code == 1
    assert f"Port {port} of 127.0.0.1 cannot be listened on" in done.output
