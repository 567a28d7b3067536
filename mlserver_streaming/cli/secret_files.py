"""Whether the files of keys, secrets and TLS can be used: by the code that the service uses."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from ..access.credentials import TlsFileError, read
from ..access.issuer_keys import issuer_keys
from ..access.keys_file import KeysFile, parse_keys
from ..extras import DISTRIBUTION
from ..secret import password_of, secret_of
from ..settings import AuthSettings, CacheSettings, StoreSettings, TlsSettings
from .report import Report


def check_tls(tls: TlsSettings, folder: Path, report: Report) -> None:
    names = {"certificate": tls.certificate, "key": tls.key, "client_ca": tls.client_ca}
    paths = {name: str(folder / path) for name, path in names.items() if path is not None}
    if not paths:
        report.section("TLS", [("none: what is sent can be read on its way",)])
        return
    try:
        found = read(paths)
    except TlsFileError as error:
        said = "cannot be used"
        report.problems.append(f"{error}. Put the right file there, or correct the setting.")
    else:
        said = found.validity
        if refused := found.refused_at(datetime.now(UTC)):
            report.problems.append(
                f"The certificate {paths['certificate']} {refused}: clients will refuse it. "
                "Replace the file."
            )
    report.section("TLS", [(paths["certificate"], said)])


def check_keys(auth: AuthSettings, folder: Path, report: Report) -> None:
    if auth.keys_file is None:
        if auth.jwt is None:
            report.section(
                "Keys", [("none: whoever reaches the ports may ask, load and unload models",)]
            )
        return
    path = str(folder / auth.keys_file)
    try:
        KeysFile(path)
    except SystemExit as error:
        said = "cannot be used"
        make = f"`{DISTRIBUTION} keys add NAME --role infer --file {path}` makes one."
        report.problems.append(f"{error} {'Correct it.' if os.path.exists(path) else make}")
    else:
        keys, now = parse_keys(Path(path).read_bytes()), datetime.now(UTC)
        over = sum(key.expires is not None and key.expires <= now for key in keys)
        said = f"{len(keys)} keys, {over} of them expired"
        if over == len(keys) and auth.jwt is None:
            report.notes.append(f"{path} has no key that is valid: nobody may call.")
    report.section("Keys", [(path, said)])


def check_tokens(auth: AuthSettings, folder: Path, report: Report) -> None:
    if auth.jwt is None:
        return
    jwks = auth.jwt.jwks
    said = f"key set {jwks}"
    try:
        issuer_keys(jwks, str(folder / jwks))
    except SystemExit as error:
        said = "its key set cannot be used"
        report.problems.append(f"{error} Put the key set there, or its URL in the setting.")
    report.section("Tokens", [(auth.jwt.issuer, said)])


def check_cache(cache: CacheSettings, folder: Path, report: Report) -> None:
    if cache.backend != "memcached":
        return
    try:
        said = "answers are sealed" if secret_of(cache, str(folder)) else "answers are not sealed"
    except SystemExit as error:
        said = "its secret cannot be used"
        report.problems.append(str(error))
    report.section("Cache", [("memcached", said)])


def check_store(store: StoreSettings, folder: Path, report: Report) -> None:
    if store.url is None:
        return
    try:
        password_of(store, str(folder))
        sealed = secret_of(store, str(folder), "store")
        said = "streams are sealed" if sealed else "streams are not sealed"
    except SystemExit as error:
        said = "its secret or password cannot be used"
        report.problems.append(str(error))
    report.section("Store", [("resumable streams", said)])
