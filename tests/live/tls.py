"""A service with TLS, its authority, and what the four ports show."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509

from clients.tls import Tls
from tests.certificates import Authority, Issued
from tests.live.conftest import make_folder
from tests.live.warm import WarmService
from tests.live.watch import wait_until

PORTS = ("http", "grpc", "metrics", "triton")


class TlsService:
    """The project's service with TLS; certificates are in its folder `tls`.

    Attributes:
        authority: signs the service's certificates and its clients'.
        client: the client's own files, None where the service asks for none.
    """

    def __init__(self, folder: Path, *, mutual: bool = False, **settings: Any):
        self.authority = Authority()
        self.folder = make_folder(
            folder,
            streaming={
                "tls": {
                    "certificate": "tls/server.pem",
                    "key": "tls/server.key",
                    "client_ca": "tls/ca.pem" if mutual else None,
                },
                **settings.pop("streaming", {}),
            },
            **settings,
        )
        self._files = self.folder / "tls"
        self._files.mkdir()
        self.ca = self.authority.write(self._files / "ca.pem")
        self.serve(self.authority.server())
        self.client: Issued | None = None
        self.tls = Tls(self.ca)
        if mutual:
            self.client = self.authority.client()
            self.tls = Tls(self.ca, *self.client.write(self._files, "client"))
        self.service = WarmService(self.folder, self.folder / "server.log", tls=self.tls.context())

    def serve(self, issued: Issued) -> Issued:
        """Put a certificate into the place of the service's."""
        issued.write(self._files, "server")
        return issued

    async def renew(self) -> Issued:
        """A new certificate, and every port shows it."""
        issued = self.serve(self.authority.server())
        await wait_until(lambda: self.shown() == {issued.serial})
        return issued

    def spoil(self) -> None:
        (self._files / "server.pem").write_text("garbage")

    def port(self, name: str) -> int:
        return int(getattr(self.service, name))

    def shown(self) -> set[int]:
        """The serial numbers that new connections to all ports see."""
        return {self.serial(name) for name in PORTS}

    def serial(self, port: str) -> int:
        # Looks, and trusts whatever it sees.
        context = self.tls.context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with self.connected(port, context) as connection:
            shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number

    @contextmanager
    def connected(self, port: str, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(("127.0.0.1", self.port(port)), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            yield connection

    def credentials(self) -> grpc.ChannelCredentials:
        key, chain = (self.client.key, self.client.chain) if self.client else (None, None)
        return grpc.ssl_channel_credentials(self.authority.pem, key, chain)
