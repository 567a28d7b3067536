"""What TLS serves with, read from PEM files: whole or not at all."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import grpc

from ..settings import BLOCK

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MINIMUM = ssl.TLSVersion.TLSv1_2
# What gRPC's TLS library can serve with; others would work over REST and fail there.
CURVES = ("secp256r1", "secp384r1")


class TlsFileError(Exception):
    """A file cannot be served with. `str()` is one line that names the setting and the file."""

    def __init__(self, field: str, path: str, reason: str):
        super().__init__(f'"{BLOCK}.tls.{field}": {path} {reason}')


@dataclass(frozen=True)
class Credentials:
    """What one handshake needs, all from the same state of the files.

    Attributes:
        context, http2: for HTTP/1.1, and for HTTP/2, which a client and a server agree on here.
    """

    context: ssl.SSLContext
    http2: ssl.SSLContext
    key: bytes
    chain: bytes
    client_ca: bytes | None
    certificate: Certificate

    @property
    def validity(self) -> str:
        return f"valid until {self.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"

    def refused_at(self, now: datetime) -> str | None:
        """Why every client will refuse the certificate at this time, None when none has to."""
        if now > self.certificate.not_valid_after_utc:
            return f"expired on {self.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if now < self.certificate.not_valid_before_utc:
            return f"is not valid before {self.certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return None

    def grpc(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(self.key, self.chain)], root_certificates=self.client_ca
        )


def read(paths: dict[str, str]) -> Credentials:
    """Credentials from PEM files.

    Raises:
        TlsFileError: one is missing, no good, or does not match another.
    """
    chain, key = (_bytes(name, paths[name]) for name in ("certificate", "key"))
    certificate = _certificates("certificate", paths["certificate"], chain)[0]
    _check_key(paths, key, certificate)
    context, client_ca = _context(paths)
    http2, _ = _context(paths)
    http2.set_alpn_protocols(["h2"])
    return Credentials(context, http2, key, chain, client_ca, certificate)


def _context(paths: dict[str, str]) -> tuple[ssl.SSLContext, bytes | None]:
    """A context, and the CA that it asks of clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = MINIMUM
    try:
        # A password, so that OpenSSL never asks for one on the terminal.
        context.load_cert_chain(paths["certificate"], paths["key"], password="")
    except (OSError, ValueError) as error:
        raise TlsFileError(
            "certificate", paths["certificate"], f"cannot be used: {error}"
        ) from error
    return context, _require_client(context, paths["client_ca"]) if "client_ca" in paths else None


def _require_client(context: ssl.SSLContext, path: str) -> bytes:
    data = _bytes("client_ca", path)
    _certificates("client_ca", path, data)
    try:
        context.load_verify_locations(cadata=data.decode("ascii", "ignore"))
    except (OSError, ValueError) as error:
        raise TlsFileError("client_ca", path, f"cannot be used: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED
    # A session taken up again would skip the look at the client's certificate.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return data


def _bytes(field: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TlsFileError(field, path, f"cannot be read: {error.strerror}") from error


def _certificates(field: str, path: str, data: bytes) -> list[Certificate]:
    # Here and below: a service without TLS starts sooner without it.
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(data)
    except ValueError as error:
        raise TlsFileError(field, path, "holds no certificate in PEM form") from error


def _check_key(paths: dict[str, str], data: bytes, certificate: Certificate) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = paths["key"]
    try:
        key = load_pem_private_key(data, None)
    except TypeError as error:
        raise TlsFileError(
            "key", path, "is encrypted; nobody can be asked for its password"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsFileError("key", path, "holds no private key in PEM form") from error
    if key.public_key() != certificate.public_key():
        raise TlsFileError("key", path, f"is not the key of {paths['certificate']}")
    if not isinstance(key, rsa.RSAPrivateKey) and not (
        isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES
    ):
        raise TlsFileError("key", path, "is of a kind that gRPC cannot use: RSA, P-256 or P-384")
