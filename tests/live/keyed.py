"""A service with keys and tokens, the callers who come to it, and what each call of it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mlserver_streaming.access.keys import main as keys
from tests.access.issuer import AUDIENCE, ISSUER, key_set, private_key, token
from tests.live.conftest import make_folder
from tests.live.service import Service
from tests.live.warm import WarmService

ROLES = {
    "infer": ("--role", "infer"),
    "admin": ("--role", "admin"),
    "limited": ("--role", "infer", "--model", "text-model"),
    "limited admin": ("--role", "admin", "--model", "text-model"),
    "expired": ("--role", "admin"),
}


class Keyed:
    """A running service, and the headers of its callers by their names."""

    def __init__(self, service: Service, keys_file: Path, secrets: dict[str, str]):
        self.service = service
        self.keys_file = keys_file
        self.secrets = secrets
        self.headers: dict[str, dict[str, str]] = {
            "nobody": {},
            "wrong": {"x-api-key": "mls_wrong"},
            "bearer infer": {"authorization": f"Bearer {secrets['infer']}"},
            **{
                name: {"authorization": f"Bearer {secret}"}
                if "." in name
                else {"x-api-key": secret}
                for name, secret in secrets.items()
            },
        }


@contextmanager
def keyed_service(folder: Path, **streaming: Any) -> Iterator[Keyed]:
    with issuer_url() as url:
        auth = {
            "keys_file": "keys.json",
            "protect_metrics": True,
            "jwt": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": url},
        }
        # With debug, the log has all that it can have.
        make_folder(folder, debug=True, streaming={"auth": auth, **streaming})
        keys_file = folder / "keys.json"
        secrets = {name: add_key(keys_file, name, *role) for name, role in ROLES.items()}
        expire(keys_file, "expired")
        secrets |= {
            "jwt.infer": token(),
            "jwt.limited": token(models=["text-model"]),
            "jwt.none": token(roles=None),
            "jwt.expired": token(exp=-3600),
            "jwt.forged": token(key=private_key("rsa-of-another")),
        }
        log = folder / "server.log"
        with WarmService(folder, log, NO_PROXY="127.0.0.1") as service:
            yield Keyed(service, keys_file, secrets)


def add_key(keys_file: Path, name: str, *role: str) -> str:
    """Add a key as a user does; its secret."""
    return _keys("add", name.replace(" ", "-"), *role, "--file", str(keys_file)).splitlines()[-1]


def expire(keys_file: Path, name: str) -> None:
    """Let a key have ended, as time does."""
    keys_ = json.loads(keys_file.read_text())
    for key in keys_:
        if key["name"] == name:
            key["expires"] = "2020-01-01T23:59:59Z"
    keys_file.write_text(json.dumps(keys_))


def remove_key(keys_file: Path, name: str) -> None:
    _keys("remove", name, "--file", str(keys_file))


def _keys(*arguments: str) -> str:
    """What `mlserver-streaming keys` prints; in this process, since a new one takes a second."""
    done = CliRunner().invoke(keys, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@contextmanager
def issuer_url() -> Iterator[str]:
    """The address of a token issuer's key set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(key_set("rsa")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/jwks"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
