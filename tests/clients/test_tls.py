import os
import ssl

import pytest

from clients.errors import TlsError
from clients.grpc_channel import open_channel
from clients.server import Server
from clients.sse_client import SseClient
from clients.tls import Tls, hang_up_hint, tls_error
from tests.certificates import Authority, pem_of, replace

VERIFY = "CERTIFICATE_VERIFY_FAILED"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # What Python's ssl says, then gRPC.
        (f"[SSL: {VERIFY}] certificate verify failed: certificate has expired", "has expired"),
        (f"SSL_ERROR_SSL: error:1000007d: {VERIFY}: certificate has expired: OK", "has expired"),
        (f"[SSL: {VERIFY}] ... failed: certificate is not yet valid", "is not valid yet"),
        (
            f"[SSL: {VERIFY}] ... Hostname mismatch, certificate is not valid for 'h'. (_ssl.c:1)",
            "for another host",
        ),
        (
            f"[SSL: {VERIFY}] ... IP address mismatch, certificate is not valid for '1.2.3.4'.",
            "for another host",
        ),
        ("UNAUTHENTICATED: Hostname Verification Check failed.", "for another host"),
        (f"[SSL: {VERIFY}] ... unable to get local issuer certificate", "not trusted.*--ca"),
        (f"SSL_ERROR_SSL: {VERIFY}: self signed certificate: OK", "not trusted.*--ca"),
        # Another CA of the same name.
        ("ECDSA routines: BAD_SIGNATURE: certificate signature failure: OK", "not trusted.*--ca"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS"),
        ("[SSL: RECORD_LAYER_FAILURE] record layer failure", "does not speak TLS"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert", "wants a client certificate"),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "does not accept"),
        ("[SSL: TLSV1_ALERT_PROTOCOL_VERSION] alert", "another version"),
    ],
)
def test_what_a_library_s_text_means(text: str, said: str) -> None:
    fault = tls_error(text, "h:1")
    with pytest.raises(TlsError, match=f"h:1.*{said}|{said}.*h:1"):
        raise fault or AssertionError(text)


def test_other_faults_are_not_about_tls() -> None:
    assert tls_error("Connection refused", "h:1") is None


def test_what_to_try_when_a_server_hangs_up(tmp_path) -> None:
    assert "--tls" in hang_up_hint(None)
    assert "--cert and --key" in hang_up_hint(Tls())
    assert "not accept" in hang_up_hint(Tls(certificate=tmp_path))


def test_contexts(tmp_path) -> None:
    authority = Authority()
    ca = authority.write(tmp_path / "ca.pem")
    issued = authority.client()
    certificate, key = issued.write(tmp_path, "client")
    both = tmp_path / "both.pem"
    replace(both, issued.chain + issued.key)
    Tls().context()
    [trusted] = Tls(ca, certificate, key).context().get_ca_certs()
    assert trusted["subject"] == (((("commonName", "the tests' CA")),),)
    context = Tls(ca, both).context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_a_bad_file_is_one_line_that_names_it(tmp_path) -> None:
    authority = Authority()
    ca = authority.write(tmp_path / "ca.pem")
    certificate, _ = authority.client().write(tmp_path, "client")
    _, another = authority.client().write(tmp_path, "another")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(os.urandom(99))
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(pem_of(authority.key, b"secret"))
    for tls, said in [
        (Tls(tmp_path / "nothing"), "nothing cannot be read: No such file"),
        (Tls(garbage), "garbage holds no CA certificate"),
        (Tls(ca, garbage, garbage), "garbage and .*garbage are not a certificate and its key"),
        (Tls(ca, certificate, another), "client.pem and .*another.key are not a certificate"),
        (Tls(ca, certificate, encrypted), "encrypted.key are not a certificate .* without a pass"),
        (Tls(ca, certificate), "client.pem and .*client.pem are not a certificate"),
    ]:
        with pytest.raises(TlsError, match=said):
            open_channel(Server("127.0.0.1", 1, tls))
        with pytest.raises(TlsError, match=said):
            async for _word in SseClient(tls=tls).words("x"):
                pass
