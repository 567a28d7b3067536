"""TLS on all ports, with files that may be replaced while the service runs.

Nothing watches the files: each handshake asks for the newest credentials, and at most once a second
that looks at the files. uvicorn listens with one SSLContext for good, whose hook hands every new
connection to the context of the newest credentials; gRPC asks its fetcher. A connection keeps what
it began with, so running streams run on. When new files are no good, that is told once and the ones
before stay.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

import grpc
import uvicorn
from mlserver.logging import logger

from ..settings import TlsSettings
from .credentials import Credentials, TlsFileError, read

LOOK_SECONDS = 1.0

# What a file is, to notice its replacement: one that was renamed into place has its own inode.
Stamp = tuple[int, ...]


class Certificates:
    """The service's newest credentials. One object for all ports, so that a fault is told once.

    Args:
        tls: where the files are; `certificate` and `key` are set.
        folder: what relative paths start from.
        clock: seconds, monotonic.

    Raises:
        TlsFileError: a file is missing or no good.
    """

    def __init__(
        self, tls: TlsSettings, folder: str = ".", clock: Callable[[], float] = time.monotonic
    ):
        assert tls.certificate is not None and tls.key is not None
        self._paths = {"certificate": tls.certificate, "key": tls.key}
        if tls.client_ca is not None:
            self._paths["client_ca"] = tls.client_ca
        self._paths = {name: os.path.join(folder, path) for name, path in self._paths.items()}
        self._clock = clock
        # gRPC's handshakes are in threads of its own.
        self._lock = threading.Lock()
        self._stamps = self._look()
        self._credentials = read(self._paths)
        self._next_look = clock() + LOOK_SECONDS
        self._told: tuple[Credentials, str] | None = None

    def current(self) -> Credentials:
        """The newest credentials; logs when they changed, could not, or every client refuses them.

        Never raises: a handshake asks.
        """
        with self._lock:
            if self._clock() >= self._next_look:
                self._next_look = self._clock() + LOOK_SECONDS
                self._renew()
            self._tell_refused()
            return self._credentials

    def context(self, http2: bool = False) -> ssl.SSLContext:
        """For a server that listens with one context for good.

        Args:
            http2: whether it is one of HTTP/2.
        """
        listening = self.current().http2 if http2 else self.current().context

        def hand_over(connection: ssl.SSLObject, name: str | None, asked: ssl.SSLContext) -> None:
            # Called at each handshake, whether or not the client names a host.
            newest = self.current()
            connection.context = newest.http2 if http2 else newest.context

        listening.sni_callback = hand_over
        return listening

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`, one for each server."""
        given = self.current()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            newest = self.current()
            if newest is given:
                return None
            given = newest
            return newest.grpc()

        return grpc.dynamic_ssl_server_credentials(
            given.grpc(),
            fetch,  # type: ignore[arg-type]  # None is "no change"; the stub does not know
            require_client_authentication=given.client_ca is not None,
        )

    def announce(self) -> None:
        """Say at start what is served, and what is wrong with it."""
        current = self.current()
        clients = "; clients need a certificate too" if current.client_ca is not None else ""
        logger.info(
            "TLS on all ports with %s, %s%s",
            self._paths["certificate"],
            current.validity,
            clients,
        )

    def _renew(self) -> None:
        stamps = self._look()
        if stamps == self._stamps:
            return
        found: Credentials | TlsFileError
        try:
            found = read(self._paths)
        except TlsFileError as error:
            found = error
        if self._look() != stamps:
            # Someone is writing them; the next look finds the whole.
            return
        self._stamps = stamps
        if isinstance(found, TlsFileError):
            logger.error("TLS: new files are not used, the old ones stay in use: %s", found)
        else:
            self._credentials = found
            logger.info(
                "TLS: new files are in use: %s, %s", self._paths["certificate"], found.validity
            )

    def _look(self) -> list[Stamp | None]:
        return [_stamp(path) for path in self._paths.values()]

    def _tell_refused(self) -> None:
        reason = self._credentials.refused_at(datetime.now(UTC))
        if reason is None or self._told == (self._credentials, reason):
            return
        self._told = self._credentials, reason
        logger.error(
            "TLS: the certificate %s %s: clients will refuse it. Replace the file; no restart is "
            "needed.",
            self._paths["certificate"],
            reason,
        )


@cache
def open_certificates(tls: TlsSettings, folder: str | None) -> Certificates | None:
    """What all servers of this process serve with; None without TLS.

    Raises:
        SystemExit: a file is missing or no good; its one line names the setting.
    """
    if tls.certificate is None:
        return None
    try:
        return Certificates(tls, folder or ".")
    except TlsFileError as error:
        raise SystemExit(f"{error}.") from error


def with_tls(config: uvicorn.Config, certificates: Certificates | None) -> uvicorn.Config:
    """The same configuration, listening with TLS where there are certificates."""
    if certificates is not None:
        config.ssl_context_factory = lambda config, default: certificates.context()
    return config


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
