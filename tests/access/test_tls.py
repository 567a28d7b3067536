import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mlserver_streaming.access.credentials import Credentials, TlsFileError
from mlserver_streaming.access.tls import LOOK_SECONDS, Certificates, open_certificates, with_tls
from mlserver_streaming.settings import TlsSettings
from tests.certificates import DAY, Authority, pem_of, replace

AUTHORITY = Authority()
STRANGER = Authority("a stranger")


class Clock:
    """Stands still until it is told to go on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def go_on(self) -> None:
        self.now += LOOK_SECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With good files of all three kinds."""
    AUTHORITY.server().write(tmp_path, "server")
    AUTHORITY.write(tmp_path / "ca.pem")
    return tmp_path


def settings(client_ca: str | None = None) -> TlsSettings:
    return TlsSettings(certificate="server.pem", key="server.key", client_ca=client_ca)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """A connection in memory, the client's side; raises what either side raises."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    listening = server.wrap_bio(there, back, server_side=True)
    calling = client.wrap_bio(back, there, server_hostname="localhost")
    waiting = [calling, listening]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
        if not waiting:
            return calling
    raise AssertionError("the handshake does not end")


def client(authority: Authority = AUTHORITY) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.pem.decode())


def client_with_certificate(folder: Path, authority: Authority = AUTHORITY) -> ssl.SSLContext:
    context = client()
    context.load_cert_chain(*authority.client().write(folder, "client"))
    return context


def serial(server: ssl.SSLContext) -> int:
    """That of the certificate which a new connection is shown."""
    shown = shake_hands(server, client()).getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "server.pem",
            None,
            r'"streaming.tls.certificate": \S+/server.pem cannot be read: No such',
        ),
        ("server.key", None, r'"streaming.tls.key": \S+/server.key cannot be read: No such'),
        ("ca.pem", None, r'"streaming.tls.client_ca": \S+/ca.pem cannot be read: No such'),
        ("server.pem", b"\x00", r'tls.certificate": \S+ holds no certificate in PEM form'),
        ("server.key", b"garbage", r'tls.key": \S+ holds no private key in PEM form'),
        ("ca.pem", b"", r'tls.client_ca": \S+ holds no certificate in PEM form'),
        ("server.key", AUTHORITY.server().key, r'tls.key": \S+ is not the key of \S+/server.pem'),
        (
            "server.key",
            pem_of(ec.generate_private_key(ec.SECP256R1()), b"secret"),
            r'tls.key": \S+ is encrypted',
        ),
    ],
)
def test_a_bad_file_stops_the_start_with_one_line_that_names_its_setting(
    folder: Path, name: str, data: bytes | None, said: str
) -> None:
    (folder / name).unlink()
    if data is not None:
        (folder / name).write_bytes(data)
    with pytest.raises(SystemExit, match=said) as error:
        open_certificates(settings("ca.pem"), str(folder))
    assert "\n" not in str(error.value)


def test_a_kind_of_key_that_grpc_cannot_use_is_refused(folder: Path) -> None:
    AUTHORITY.server(key=ec.generate_private_key(ec.SECP521R1())).write(folder, "server")
    with pytest.raises(TlsFileError, match="RSA, P-256 or P-384"):
        Certificates(settings(), str(folder))


def test_rsa_is_served_too(folder: Path) -> None:
    issued = AUTHORITY.server(key=rsa.generate_private_key(65537, 2048))
    issued.write(folder, "server")
    assert serial(Certificates(settings(), str(folder)).context()) == issued.serial


def test_a_key_too_weak_for_tls_is_refused(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cryptography warns of it too
        AUTHORITY.server(key=rsa.generate_private_key(65537, 1024)).write(folder, "server")
        with pytest.raises(TlsFileError, match="key too small"):
            Certificates(settings(), str(folder))


def test_absolute_paths_are_taken_as_they_are(folder: Path) -> None:
    tls = TlsSettings(certificate=str(folder / "server.pem"), key=str(folder / "server.key"))
    Certificates(tls, "/nowhere")


def test_all_servers_of_a_process_share_one_object(folder: Path) -> None:
    assert open_certificates(TlsSettings(), str(folder)) is None
    assert open_certificates(settings(), str(folder)) is open_certificates(settings(), str(folder))


async def test_uvicorn_listens_with_it(folder: Path) -> None:
    config = uvicorn.Config("nothing:nothing", log_config=None)
    assert not with_tls(config, None).is_ssl
    config = with_tls(config, Certificates(settings(), str(folder)))
    assert config.is_ssl
    factory = config.ssl_context_factory
    assert factory is not None
    serial(factory(config, lambda: ssl.create_default_context()))


def test_tls_1_1_is_refused(folder: Path) -> None:
    server = Certificates(settings(), str(folder)).context()
    asking = client()
    asking.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asking.minimum_version = asking.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(server, asking)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        asking = client()
        asking.minimum_version = asking.maximum_version = version
        assert shake_hands(server, asking).version() == version.name.replace("_", ".")


def test_new_files_are_for_new_connections(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mlserver")
    certificates = Certificates(settings(), str(folder), clock)
    server = certificates.context()
    first = serial(server)
    new = AUTHORITY.server()
    new.write(folder, "server")
    assert serial(server) == first  # not looked at yet
    clock.go_on()
    assert serial(server) == new.serial
    assert "new files are in use" in caplog.text
    newer = AUTHORITY.server()
    newer.write(folder, "server")
    clock.go_on()
    assert serial(server) == newer.serial
    assert certificates.context() is certificates.current().context


@pytest.mark.parametrize(
    ("name", "data"), [("server.pem", b"garbage"), ("server.key", b"garbage"), ("server.pem", None)]
)
def test_files_that_are_no_good_leave_the_old_ones_in_use(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture, name: str, data: bytes | None
) -> None:
    server = Certificates(settings(), str(folder), clock).context()
    first = serial(server)
    if data is None:
        (folder / name).unlink()
    else:
        replace(folder / name, data)
    for _ in range(3):
        clock.go_on()
        assert serial(server) == first
    [line] = caplog.messages  # told once
    assert "the old ones stay in use" in line
    assert f"{folder}/{name}" in line
    new = AUTHORITY.server()
    new.write(folder, "server")
    clock.go_on()
    assert serial(server) == new.serial


def test_half_a_pair_waits_for_the_other_half(folder: Path, clock: Clock) -> None:
    server = Certificates(settings(), str(folder), clock).context()
    first, new = serial(server), AUTHORITY.server()
    replace(folder / "server.pem", new.chain)
    clock.go_on()
    assert serial(server) == first
    replace(folder / "server.key", new.key)
    clock.go_on()
    assert serial(server) == new.serial


def test_files_that_change_while_they_are_read_are_read_again(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(settings(), str(folder), clock)
    server = certificates.context()
    first, new = serial(server), AUTHORITY.server()
    replace(folder / "server.pem", new.chain)
    from mlserver_streaming.access import tls

    def read(paths: dict[str, str]) -> Credentials:
        replace(folder / "server.key", new.key)
        raise TlsFileError("key", paths["key"], "is not the key")

    with monkeypatch.context() as patch:
        patch.setattr(tls, "read", read)
        clock.go_on()
        assert serial(server) == first
    assert caplog.messages == []
    clock.go_on()
    assert serial(server) == new.serial


def test_an_expired_certificate_is_served_and_told_once(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    AUTHORITY.server(left=-DAY).write(folder, "server")
    certificates = Certificates(settings(), str(folder), clock)
    server = certificates.context()
    for _ in range(3):
        clock.go_on()
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            serial(server)
    [line] = caplog.messages
    assert "expired on" in line
    AUTHORITY.server(left=-DAY).write(folder, "server")
    clock.go_on()
    certificates.current()
    assert [("expired" in line) for line in caplog.messages] == [True, True]
    new = AUTHORITY.server()
    new.write(folder, "server")
    clock.go_on()
    assert serial(server) == new.serial


def test_when_every_client_refuses_a_certificate(folder: Path) -> None:
    credentials = Certificates(settings(), str(folder)).current()
    now = datetime.now(UTC)
    assert credentials.refused_at(now) is None
    assert "expired on" in str(credentials.refused_at(now + DAY))
    assert "not valid before" in str(credentials.refused_at(now - 3 * DAY))


def test_a_certificate_that_begins_later_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    AUTHORITY.server(begun=-timedelta(hours=1)).write(folder, "server")
    Certificates(settings(), str(folder)).announce()
    assert "is not valid before" in caplog.text


def test_the_start_tells_what_is_served(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mlserver")
    Certificates(settings("ca.pem"), str(folder)).announce()
    [line] = caplog.messages
    assert f"{folder}/server.pem, valid until" in line
    assert line.endswith("clients need a certificate too")


def test_a_client_needs_a_certificate_of_the_client_ca(folder: Path, clock: Clock) -> None:
    server = Certificates(settings("ca.pem"), str(folder), clock).context()
    shake_hands(server, client_with_certificate(folder))
    with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
        shake_hands(server, client())
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(server, client_with_certificate(folder, STRANGER))


def test_a_new_client_ca_is_for_new_connections(folder: Path, clock: Clock) -> None:
    server = Certificates(settings("ca.pem"), str(folder), clock).context()
    ours, theirs = (client_with_certificate(folder, each) for each in (AUTHORITY, STRANGER))
    STRANGER.write(folder / "ca.pem")
    clock.go_on()
    shake_hands(server, theirs)
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(server, ours)
    replace(folder / "ca.pem", AUTHORITY.pem + STRANGER.pem)
    clock.go_on()
    for each in (ours, theirs):
        shake_hands(server, each)
