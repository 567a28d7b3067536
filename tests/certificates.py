"""Certificates for tests: an authority, what it signs, and the files that servers read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM; written, they are two files."""

    chain: bytes
    key: bytes

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.chain).serial_number

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Put the files in the place of old ones as a careful tool does, each at once."""
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        for path, data in zip(paths, (self.chain, self.key), strict=True):
            replace(path, data)
        return paths


class Authority:
    """A CA: its key, and its certificate as PEM."""

    def __init__(self, name: str = "the tests' CA"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._certificate = (
            _builder(self._name, self._name, self.key.public_key(), DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, path: Path) -> Path:
        replace(path, self.pem)
        return path

    def server(
        self,
        *hosts: str,
        left: timedelta = DAY,
        begun: timedelta = 2 * DAY,
        key: CertificateIssuerPrivateKeyTypes | None = None,
    ) -> Issued:
        """For a server of these hosts (this machine's loopback), that ends in `left`."""
        names: list[x509.GeneralName] = [
            x509.IPAddress(IPv4Address(host)) if host[0].isdigit() else x509.DNSName(host)
            for host in hosts or HOSTS
        ]
        return self._issue(
            "server",
            ExtendedKeyUsageOID.SERVER_AUTH,
            left,
            begun,
            key,
            x509.SubjectAlternativeName(names),
        )

    def client(self, name: str = "client", left: timedelta = DAY) -> Issued:
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, left, 2 * DAY, None)

    def _issue(
        self,
        name: str,
        purpose: x509.ObjectIdentifier,
        left: timedelta,
        begun: timedelta,
        key: CertificateIssuerPrivateKeyTypes | None,
        *extensions: x509.ExtensionType,
    ) -> Issued:
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(name), self._name, key.public_key(), left, begun)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return Issued(
            builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            pem_of(key),
        )


def pem_of(key: CertificateIssuerPrivateKeyTypes, password: bytes | None = None) -> bytes:
    """A private key as PEM, encrypted when there is a password."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def replace(path: Path, data: bytes) -> None:
    """Write a file that no reader ever sees half."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    os.replace(new, path)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: object, left: timedelta, begun: timedelta = 2 * DAY
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - begun)
        .not_valid_after(now + left)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
