"""TLS as a client needs it: whom it trusts, who it is, and what went wrong in one line.

Free of gRPC: the REST client can be copied without it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from .errors import TlsError

# Words that OpenSSL, BoringSSL (inside gRPC) and gRPC have for the same fault, and ours.
_FAULTS = (
    (("certificate has expired",), "the certificate of {address} has expired"),
    (("certificate is not yet valid",), "the certificate of {address} is not valid yet"),
    (
        ("mismatch, certificate is not valid for", "Hostname Verification Check failed"),
        "the certificate of {address} is for another host; is --host what stands in it?",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate signature failure"),
        "the certificate of {address} is not trusted; pass the CA that signed it with --ca",
    ),
    (
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"),
        "{address} does not speak TLS; leave --tls out",
    ),
    (
        ("ALERT_CERTIFICATE_REQUIRED", "ALERT_HANDSHAKE_FAILURE"),
        "{address} wants a client certificate; pass --cert and --key",
    ),
    (
        ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE"),
        "{address} does not accept the certificate passed with --cert",
    ),
    (("ALERT_PROTOCOL_VERSION",), "{address} speaks another version of TLS"),
)


@dataclass(frozen=True)
class Tls:
    """PEM files: the CA to trust in place of the well-known ones; this client's own certificate.

    Without `key`, the key is in the certificate's file.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For Python's own TLS. Raises TlsError when a file is missing or no good."""
        if self.ca is None:
            context = ssl.create_default_context()
        else:
            try:
                context = ssl.create_default_context(cadata=read_pem(self.ca).decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise TlsError(f"{self.ca} holds no CA certificate in PEM form") from error
        if self.certificate is not None:
            key = self.key or self.certificate
            for path in (self.certificate, key):
                # For its error, which names the one file.
                read_pem(path)
            try:
                # A password, so that OpenSSL never asks for one on the terminal.
                context.load_cert_chain(self.certificate, key, password="")
            except (OSError, ValueError) as error:
                raise TlsError(
                    f"{self.certificate} and {key} are not a certificate and its key in PEM form, "
                    f"without a password: {error}"
                ) from error
        return context


def read_pem(path: Path) -> bytes:
    """Raises TlsError when the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error.strerror}") from error


def tls_error(text: str, address: str) -> TlsError | None:
    """The fault in a library's text about a connection; None when it is not about TLS."""
    for words, fault in _FAULTS:
        if any(word in text for word in words):
            return TlsError(fault.format(address=address))
    return None


def hang_up_hint(tls: Tls | None) -> str:
    """What to try when the server hangs up before its first word: it gives no reason then."""
    if tls is None:
        return "; if it speaks TLS, pass --tls"
    if tls.certificate is None:
        return "; if it wants a client certificate, pass --cert and --key"
    return "; it may not accept the certificate passed with --cert"
