"""Who calls, by the headers of a call, and what the caller may do."""

import contextvars
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlserver.logging import logger
from mlserver.settings import Settings

from mlserver_streaming.access.authenticator import (
    MISSING,
    UNKNOWN,
    Authenticator,
    announce,
    authenticator,
    without_secrets,
)
from mlserver_streaming.access.callers import (
    ANYBODY,
    NOBODY,
    Caller,
    authorise,
    key_name,
    require,
    set_current,
)
from mlserver_streaming.access.keys_file import digest
from mlserver_streaming.errors import ForbiddenError, IssuerError, UnauthenticatedError
from mlserver_streaming.settings import AuthSettings, JwtSettings
from tests.access.issuer import AUDIENCE, ISSUER, key_set, token


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys = [
        {"name": name, "sha256": digest(secret).hex(), "roles": [role], **fields}
        for name, secret, role, fields in (
            ("user", "sesame", "infer", {}),
            ("boss", "mustard", "admin", {}),
            ("guest", "old", "infer", {"expires": f"{datetime.now(UTC) - timedelta(days=1)}"}),
        )
    ]
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    (tmp_path / "jwks.json").write_text(json.dumps(key_set("rsa")))
    return tmp_path


JWT = JwtSettings(issuer=ISSUER, audience=AUDIENCE, jwks="jwks.json")


@pytest.fixture
def both(folder: Path) -> Authenticator:
    return Authenticator(AuthSettings(keys_file="keys.json", jwt=JWT), str(folder))


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"x-api-key": "sesame"}, "user"),
        ({"authorization": "Bearer mustard"}, "boss"),
        ({"authorization": "bearer  mustard "}, "boss"),
        ({"authorization": f"Bearer {token()}"}, "jwt:alice"),
        ({"x-api-key": "sesame", "authorization": "Bearer mustard"}, "user"),
        ({"x-api-key": "sesame", "authorization": "Basic Zm9vOmJhcg=="}, "user"),
        ({"x-api-key": "", "authorization": "Bearer mustard"}, "boss"),
    ],
)
async def test_a_caller(both: Authenticator, headers: dict[str, str], name: str) -> None:
    assert (await both.identify(headers)).name == name


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, MISSING),
        ({"x-api-key": ""}, MISSING),
        ({"x-api-key": b"sesame"}, MISSING),
        ({"authorization": ""}, MISSING),
        ({"authorization": "sesame"}, MISSING),
        ({"authorization": "Basic sesame"}, MISSING),
        ({"x-api-key": "Sesame"}, UNKNOWN),
        ({"x-api-key": "Bearer sesame"}, UNKNOWN),
        ({"x-api-key": token()}, UNKNOWN),
        ({"x-api-key": "wrong", "authorization": "Bearer mustard"}, UNKNOWN),
        ({"authorization": "Bearer "}, UNKNOWN),
        ({"authorization": "Bearer wrong"}, UNKNOWN),
        ({"x-api-key": "old"}, "The key 'guest' has expired."),
        ({"authorization": "Bearer a.b.c"}, "The token is not valid."),
    ],
)
async def test_nobody(both: Authenticator, headers: dict[str, Any], said: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        await both.identify(headers)
    assert (str(caught.value), caught.value.status_code) == (said, 401)


async def test_without_keys_everybody_is_let_in() -> None:
    found = Authenticator(AuthSettings())
    assert not found.enabled
    assert await found.identify({}) is ANYBODY
    assert await found.identify({"x-api-key": "any"}) is ANYBODY


async def test_keys_alone_take_no_token_and_tokens_alone_no_key(folder: Path) -> None:
    keys = Authenticator(AuthSettings(keys_file="keys.json"), str(folder))
    tokens = Authenticator(AuthSettings(jwt=JWT), str(folder))
    assert keys.enabled
    assert tokens.enabled
    assert (await keys.identify({"x-api-key": "sesame"})).name == "user"
    assert (await tokens.identify({"authorization": f"Bearer {token()}"})).name == "jwt:alice"
    for found, secret in ((keys, token()), (tokens, "sesame")):
        with pytest.raises(UnauthenticatedError):
            await found.identify({"authorization": f"Bearer {secret}"})


async def test_a_dead_issuer_is_no_fault_of_the_caller() -> None:
    jwt = JWT.model_copy(update={"jwks": "http://127.0.0.1:1/jwks"})
    found = Authenticator(AuthSettings(jwt=jwt))
    with pytest.raises(IssuerError):
        await found.identify({"authorization": f"Bearer {token()}"})


@pytest.mark.parametrize("spoil", ["keys.json", "jwks.json"])
@pytest.mark.parametrize("content", [None, "garbage"])
def test_a_spoilt_file_stops_the_start_with_one_line(
    folder: Path, spoil: str, content: str | None
) -> None:
    (folder / spoil).unlink()
    if content is not None:
        (folder / spoil).write_text(content)
    with pytest.raises(SystemExit) as caught:
        Authenticator(AuthSettings(keys_file="keys.json", jwt=JWT), str(folder))
    line = str(caught.value)
    assert str(folder / spoil) in line
    assert "\n" not in line


def test_all_ports_share_one(folder: Path) -> None:
    settings = AuthSettings(keys_file="keys.json")
    assert authenticator(settings, str(folder)) is authenticator(
        AuthSettings(keys_file="keys.json"), str(folder)
    )


def refused(caller: Caller, check: Callable[[str], None], what: str) -> str | None:
    def run() -> str | None:
        set_current(caller)
        try:
            check(what)
        except ForbiddenError as error:
            assert error.status_code == 403
            return str(error)
        return None

    return contextvars.copy_context().run(run)


INFER, ADMIN = frozenset({"infer"}), frozenset({"admin"})


@pytest.mark.parametrize(
    ("caller", "infer", "admin", "model", "other"),
    [
        (ANYBODY, True, True, True, True),
        (NOBODY, False, False, False, False),
        (Caller("a", INFER), True, False, True, True),
        (Caller("a", ADMIN), True, True, True, True),
        (Caller("a", frozenset({"cook"})), False, False, True, True),
        (Caller("a", INFER, frozenset({"model"})), True, False, True, False),
        (Caller("a", ADMIN, frozenset()), True, True, False, False),
    ],
)
def test_what_a_caller_may_do(
    caller: Caller, infer: bool, admin: bool, model: bool, other: bool
) -> None:
    assert (refused(caller, require, "infer") is None) is infer
    assert (refused(caller, require, "admin") is None) is admin
    assert (refused(caller, authorise, "model") is None) is model
    assert (refused(caller, authorise, "other") is None) is other


def test_a_refusal_names_the_caller_and_the_model() -> None:
    caller = Caller("cam", INFER, frozenset())
    assert refused(caller, authorise, "m") == "'cam' may not use model 'm'."
    assert refused(caller, require, "admin") == (
        "This needs the role 'admin', which 'cam' does not have."
    )


def test_without_keys_a_caller_has_no_name() -> None:
    assert key_name() is None


def test_a_model_sees_no_secret() -> None:
    headers = {"x-api-key": "s", "authorization": "s", "proxy-authorization": "s", "accept": "*/*"}
    assert without_secrets(headers) == {"accept": "*/*"}


@pytest.mark.parametrize(
    ("host", "enabled", "loud"),
    [
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("10.1.2.3", False, True),
        ("inference.example", False, True),
        ("127.0.0.1", False, False),
        ("127.8.8.8", False, False),
        ("::1", False, False),
        ("localhost", False, False),
        ("0.0.0.0", True, False),
    ],
)
def test_an_open_service_is_announced(
    host: str,
    enabled: bool,
    loud: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    announce(Settings(host=host), enabled)
    assert [(each.levelno, host in each.getMessage()) for each in caplog.records] == (
        [(logging.WARNING, True)] if loud else []
    )


def test_protected_metrics_need_keys() -> None:
    with pytest.raises(ValueError, match="needs keys_file or jwt"):
        AuthSettings(protect_metrics=True)
