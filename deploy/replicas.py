"""N instances of the service behind HAProxy on this machine: `make serve-replicas N=4`.

    python -m deploy.replicas 4

The ports are those that one instance would have; the instances are on the loopback, STEP ports
further each. Ctrl-C drains all of them; a second one ends the drain. With --store there is a Redis
or Valkey server beside them, on a socket of its own: resumable streams outlive their instance.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from clients.address import is_loopback, join_address
from clients.command import reported
from clients.errors import ClientError
from clients.server_process import HOST, ServerProcess, ServiceError, answers_ok, on_ports
from clients.service import COMMAND, PROJECT
from mlserver_streaming.ports import require_free
from mlserver_streaming.settings import StreamingSettings, settings_file

CONFIG = Path(__file__).with_name("haproxy") / "haproxy.cfg"
LOGS = Path("results") / "replicas"
TRITON_PORT = 8001
# From one instance's ports to the next one's. More than lies between one's own (8001 to 8082).
STEP = 100
MOST = 64
# How often a look is taken whether all still run.
WATCH_S = 1.0
STORE_BYTES = "256mb"
# After the drain: for the last bytes, and MLServer's own end.
SPARE_S = 15.0
NO_STORE = "There is no redis-server here: make redis installs Debian's; valkey-server will do too"
STORE_URL = "STREAMING_RESUME__STORE__URL"
NO_HAPROXY = (
    "HAProxy is not here: make haproxy installs Debian's; elsewhere install it, 2.6 or newer"
)
# Debian has it where only root looks.
PATH = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin"
# What of the configuration file says where replicas are.
TEMPLATE = re.compile(
    r'server-template replica "\$REPLICAS" "\$SERVICE"(?P<how>.*) check port 8080(?P<check>.*)'
    r" resolvers cluster init-addr none"
)


@dataclass(frozen=True)
class Ports:
    """Of one instance, or of HAProxy, which has no metrics."""

    http: int = 8080
    grpc: int = 8081
    metrics: int = 8082
    triton: int = TRITON_PORT

    def further(self, step: int) -> Ports:
        return Ports(self.http + step, self.grpc + step, self.metrics + step, self.triton + step)


def with_replicas(config: str, replicas: Sequence[tuple[str, int]]) -> str:
    """HAProxy's configuration for replicas that no name resolves to.

    Args:
        replicas: of each the address as HAProxy has it, without a port where it is the one that was
            asked, `host:+n` where it is that one and n more; and the port of its readiness.
    """

    def servers(match: re.Match[str]) -> str:
        return "\n    ".join(
            f"server replica{index} {address}{match['how']} check port {port}{match['check']}"
            for index, (address, port) in enumerate(replicas, start=1)
        )

    return TEMPLATE.sub(servers, config)


def haproxy() -> str:
    """The program. Raises ClientError where there is none."""
    if (found := shutil.which("haproxy", path=PATH)) is None:
        raise ClientError(NO_HAPROXY)
    return found


class Balancer(ServerProcess):
    """HAProxy with this configuration, ready when a replica behind it is."""

    def __init__(self, config: str, folder: Path, *, listen: str = HOST, ports: Ports = Ports()):
        """
        Args:
            folder: for the configuration as it is run, and the log.
            listen: the address where clients come.
        """
        file = folder / "haproxy.cfg"
        folder.mkdir(parents=True, exist_ok=True)
        self.listen, self.ports = listen, ports
        environment = {
            "LISTEN": listen,
            "HTTP_PORT": str(ports.http),
            "GRPC_PORT": str(ports.grpc),
            "TRITON_PORT": str(ports.triton),
        }
        self._socket = folder.absolute() / "haproxy.sock"
        file.write_text(config.replace("global\n", f"global\n    stats socket {self._socket}\n", 1))
        command = [haproxy(), "-db", "-f", str(file.absolute())]
        super().__init__(command, folder, environment, folder / "haproxy.log")

    def is_ready(self) -> bool:
        host = HOST if self.listen in {"*", "0.0.0.0", "::"} else self.listen
        return answers_ok(f"http://{join_address(host, self.ports.http)}/v2/health/ready")

    def ask(self, command: str) -> str:
        """What HAProxy answers on its own socket: `show stat`, say."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(self._socket))
            asked.sendall(command.encode() + b"\n")
            asked.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: asked.recv(65536), b"")).decode()


class StoreServer(ServerProcess):
    """A Redis or Valkey server that keeps all in memory, for who reaches its socket."""

    def __init__(self, folder: Path):
        if (found := shutil.which("redis-server") or shutil.which("valkey-server")) is None:
            raise ClientError(NO_STORE)
        folder.mkdir(parents=True, exist_ok=True)
        self._socket = folder.absolute() / "store.sock"
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "maxmemory": STORE_BYTES,
            "maxmemory-policy": "noeviction",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        super().__init__([found, *words], folder, {}, folder / "store.log")

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def is_ready(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as asked:
                asked.connect(str(self._socket))
                asked.sendall(b"PING\r\n")
                return asked.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class Replica(ServerProcess):
    """One instance of the project's service, on ports of its own."""

    def __init__(self, index: int, ports: Ports, stop_s: float, store: str | None = None):
        """
        Args:
            store: the url of the store of streams; None for what the settings say.
        """
        self.index, self.ports, self.stop_s = index, ports, stop_s
        environment = on_ports(ports.http, ports.grpc, ports.metrics, ports.triton)
        if store is not None:
            environment |= {STORE_URL: store}
        super().__init__(COMMAND, PROJECT, environment, LOGS / f"replica-{index}.log")

    def is_ready(self) -> bool:
        return answers_ok(f"http://{HOST}:{self.ports.http}/v2/health/ready")


def front_ports(settings: StreamingSettings, environment: Mapping[str, str]) -> Ports:
    """Where clients come: where one instance would listen."""
    named = {"http": "HTTP", "grpc": "GRPC", "metrics": "METRICS"}
    variables = {name: environment.get(f"MLSERVER_{text}_PORT") for name, text in named.items()}
    ports = {name: int(text) for name, text in variables.items() if text}
    return Ports(**ports, triton=settings.triton_port or TRITON_PORT)


def check_settings(settings: StreamingSettings, file: Mapping[str, object]) -> None:
    """Raises ClientError where several instances cannot be served with these settings."""
    fixed = {"host", "http_port", "grpc_port", "metrics_port"} & set(file)
    if fixed:
        raise ClientError(
            f"settings.json fixes {', '.join(sorted(fixed))}, which each replica must have for "
            "itself; leave it out and set MLSERVER_HTTP_PORT and its like"
        )
    if settings.tls.certificate is not None:
        raise ClientError(
            "replicas on the loopback speak no TLS: leave streaming.tls out, and give the "
            "certificate to HAProxy (docs/scaling.md)"
        )


@click.command()
@click.argument("count", type=click.IntRange(1, MOST))
@click.option(
    "--host", default=HOST, show_default=True, help="Where clients come; replicas: loopback only."
)
@click.option(
    "--store", "with_store", is_flag=True, help="Start a Redis or Valkey server for all, too."
)
@click.option("--config", "show", is_flag=True, help="Print HAProxy's configuration, and no more.")
def main(count: int, host: str, with_store: bool, show: bool) -> None:
    """Serve with COUNT instances until Ctrl-C."""
    with reported():
        settings = StreamingSettings.read(str(PROJECT))
        check_settings(settings, settings_file(str(PROJECT)))
        front = front_ports(settings, os.environ)
        stop_s = settings.notice_seconds + settings.drain_seconds + SPARE_S
        store = StoreServer(LOGS) if with_store and not show else None
        url = None if store is None else store.url
        replicas = [
            Replica(index, front.further(STEP * index), stop_s, url)
            for index in range(1, count + 1)
        ]
        where = [(f"{HOST}:+{STEP * each.index}", each.ports.http) for each in replicas]
        config = with_replicas(CONFIG.read_text(encoding="utf-8"), where)
        if show:
            click.echo(config, nl=False)
            return
        balancer = Balancer(config, LOGS, listen=host, ports=front)
        # HAProxy would share them with another, and each would get half of the calls.
        require_free(
            "" if host == "*" else host,
            {"http_port": front.http, "grpc_port": front.grpc, "triton_port": front.triton},
        )
        if not is_loopback(host) and settings.auth.keys_file is None and settings.auth.jwt is None:
            click.echo(
                f"ANYBODY WHO REACHES {host} MAY USE THIS SERVICE: set "
                "streaming.auth.keys_file (docs/security.md), or listen on 127.0.0.1.",
                err=True,
            )
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        try:
            if store is not None:
                store.start()
            serve(replicas, balancer)
        except KeyboardInterrupt:
            pass
        finally:
            stop(replicas, balancer)
            if store is not None and hasattr(store, "process"):
                store.stop()


def serve(replicas: Sequence[Replica], balancer: Balancer) -> None:
    """Start all, and start each again that ends, until a signal. Raises ServiceError."""
    click.echo(f"Starting {len(replicas)} replicas, logs in {LOGS}/ ...")
    with ThreadPoolExecutor(len(replicas)) as pool:
        list(pool.map(Replica.start, replicas))
    balancer.start()
    ports = balancer.ports
    click.echo(
        f"{len(replicas)} replicas behind {balancer.listen}: REST {ports.http}, gRPC {ports.grpc}, "
        f"Triton's gRPC {ports.triton}; metrics "
        + ", ".join(str(each.ports.metrics) for each in replicas)
    )
    pause = threading.Event()
    while not pause.wait(WATCH_S):
        if (status := balancer.process.poll()) is not None:
            raise ServiceError(
                f"HAProxy ended with status {status}; see {balancer.log}", balancer.last_lines()
            )
        for replica in replicas:
            if (status := replica.process.poll()) is not None:
                click.echo(f"Replica {replica.index} ended with status {status}; starting it again")
                replica.process = replica.launch()


def stop(replicas: Sequence[Replica], balancer: Balancer) -> None:
    """Drain all; the balancer goes last, since running streams pass through it."""
    running = [each for each in replicas if hasattr(each, "process")]
    if not running:
        return
    click.echo("Stopping; Ctrl-C again ends what still runs")
    with ThreadPoolExecutor(len(running)) as pool:
        stopping = [pool.submit(each.stop) for each in running]
        try:
            for each in stopping:
                each.result()
        except KeyboardInterrupt:
            for replica in running:
                replica.process.terminate()
    if hasattr(balancer, "process"):
        balancer.stop()


if __name__ == "__main__":
    main()
