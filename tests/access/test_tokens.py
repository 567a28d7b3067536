"""JSON web tokens: the good ones are taken, all tricks are refused."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from mlserver_streaming.access.callers import TOKEN, Caller, identity_of
from mlserver_streaming.access.issuer_keys import issuer_keys
from mlserver_streaming.access.tokens import Tokens
from mlserver_streaming.errors import UnauthenticatedError
from mlserver_streaming.settings import JwtSettings
from tests.access.issuer import AUDIENCE, ISSUER, claims, private_key, public_jwk, token

KIDS = ("rsa", "ec", "ed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    write(path, *map(public_jwk, KIDS))
    return path


def tokens(path: Path, **settings: Any) -> Tokens:
    found = JwtSettings(issuer=ISSUER, audience=AUDIENCE, jwks=str(path), **settings)
    return Tokens(found, issuer_keys(found.jwks, str(path)))


async def refusal(path: Path, bad: str, **settings: Any) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await tokens(path, **settings).caller(bad)
    assert caught.value.__cause__ is None
    assert not any(part in str(caught.value) for part in bad.split(".") if len(part) > 3)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kid", "algorithm"),
    [("rsa", "RS256"), ("rsa", "PS384"), ("ec", "ES256"), ("ed", "EdDSA")],
)
async def test_a_good_token_is_its_caller(path: Path, kid: str, algorithm: str) -> None:
    good = token(kid, algorithm, roles=["infer", "cook"], models=["m"])
    caller = await tokens(path, algorithms=[algorithm]).caller(good)
    assert (caller.name, caller.roles, caller.models) == ("jwt:alice", {"infer", "cook"}, {"m"})


@pytest.mark.parametrize(
    ("changes", "roles", "models"),
    [
        ({}, {"infer"}, None),
        ({"roles": None}, set(), None),
        ({"roles": "infer admin"}, {"infer", "admin"}, None),
        ({"models": []}, {"infer"}, set()),
        ({"models": "m n"}, {"infer"}, {"m", "n"}),
        ({"aud": ["other", AUDIENCE]}, {"infer"}, None),
        ({"nbf": 20}, {"infer"}, None),
        ({"exp": -20}, {"infer"}, None),
    ],
)
async def test_claims(path: Path, changes: Any, roles: set[str], models: set[str] | None) -> None:
    caller = await tokens(path).caller(token(**changes))
    assert (caller.roles, caller.models) == (roles, models)


async def test_claims_can_have_other_names(path: Path) -> None:
    found = tokens(path, roles_claim="https://x.example/roles", models_claim="scope")
    caller = await found.caller(token(**{"https://x.example/roles": ["admin"], "scope": "m n"}))
    assert (caller.roles, caller.models) == ({"admin"}, {"m", "n"})


async def test_a_subject_is_fit_for_a_log_line(path: Path) -> None:
    caller = await tokens(path).caller(token(sub="a\nb" + "c" * 200))
    assert caller.name == "jwt:a?b" + "c" * 97 + "..."


async def test_subjects_that_begin_alike_are_two_callers(path: Path) -> None:
    one, other, again = [
        await tokens(path).caller(token(sub="a" * 100 + end)) for end in ("b", "c", "b")
    ]
    assert one.name == other.name
    assert one.identity == again.identity != other.identity


async def test_a_key_of_a_token_s_name_and_another_issuer_s_subject_are_others(path: Path) -> None:
    bob = await tokens(path).caller(token(sub="bob"))
    named_like_it = Caller("jwt:bob", bob.roles)
    other = JwtSettings(issuer="https://other.example", audience=AUDIENCE, jwks=str(path))
    same_subject = await Tokens(other, issuer_keys(other.jwks, str(path))).caller(
        token(sub="bob", iss=other.issuer)
    )
    assert bob.name == named_like_it.name == same_subject.name
    assert len({bob.identity, named_like_it.identity, same_subject.identity}) == 3
    # Nor do they meet where the parts are only put together.
    assert identity_of(TOKEN, "a", "bc") != identity_of(TOKEN, "ab", "c")


@pytest.mark.parametrize("sub", [None, "", 7, ["bob"], {"name": "bob"}, True])
async def test_a_token_must_name_somebody(path: Path, sub: Any) -> None:
    assert await refusal(path, token_of(sub)) == (
        "The token names nobody: its claim 'sub' must be a text."
    )


def token_of(sub: Any) -> str:
    """A token with this `sub`; PyJWT makes only those that it would take."""
    signed = private_key("rsa")
    return jwt.api_jws.encode(json.dumps(claims(sub=sub)).encode(), signed, "RS256", {"kid": "rsa"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exp": -40}, "The token has expired."),
        ({"exp": None}, "The token is not valid."),
        ({"exp": "soon"}, "The token is not valid."),
        ({"nbf": 60}, "The token is not valid yet."),
        ({"aud": "other"}, "The token is for another audience."),
        ({"aud": None}, "The token is not valid."),
        ({"iss": "https://other.example"}, "The token is from another issuer."),
        ({"iss": None}, "The token is not valid."),
        ({"roles": 7}, "The token's claim 'roles' is not a list of names."),
        ({"models": {"m": 1}}, "The token's claim 'models' is not a list of names."),
        ({"models": [["m"]]}, "The token's claim 'models' is not a list of names."),
        ({"kid": "unknown", "key": "rsa"}, "The token's key is not one of its issuer."),
        ({"kid": None}, "The token's key is not one of its issuer."),
        ({"kid": "rsa", "key": "rsa2"}, "The token is not valid."),
        ({"algorithm": "RS512"}, "The token's algorithm is not taken here."),
        ({"kid": "rsa", "key": "ec", "algorithm": "ES256"}, "The token is not valid."),
    ],
)
async def test_a_bad_token_is_told_why(path: Path, changes: Any, said: str) -> None:
    if "key" in changes:
        changes = {**changes, "key": private_key(changes["key"])}
    elif changes.get("kid", "") is None:
        changes = {**changes, "key": private_key("rsa")}
    assert await refusal(path, token(**changes)) == said


async def test_null_models_are_not_all_models(path: Path) -> None:
    bad = jwt.encode({**claims(), "models": None}, private_key("rsa"), "RS256", {"kid": "rsa"})
    assert "models" in await refusal(path, bad)


async def test_without_a_signature_it_is_no_token(path: Path) -> None:
    assert "algorithm" in await refusal(path, token(algorithm="none"))
    head, body, signature = token().split(".")
    assert await refusal(path, f"{head}.{body}.") == "The token is not valid."
    for name in ("none", "None", "NONE"):
        unsigned = encoded({"alg": name, "kid": "rsa"})
        for end in ("", signature):
            assert "algorithm" in await refusal(path, f"{unsigned}.{body}.{end}")


@pytest.mark.parametrize("kid", ["rsa", "ec"])
async def test_a_public_key_is_no_shared_secret(path: Path, kid: str) -> None:
    """Algorithm confusion: HS256 with the public key, which everybody knows, as the secret."""
    public = private_key(kid).public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, info),
        public.public_bytes(serialization.Encoding.DER, info),
        json.dumps(public_jwk(kid)).encode(),
    ]
    for secret in secrets:
        signed = f"{encoded({'alg': 'HS256', 'kid': kid})}.{encoded(claims())}"
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        forged = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert "algorithm" in await refusal(path, forged)


async def test_a_key_is_for_its_own_algorithm_only(path: Path) -> None:
    write(path, public_jwk("rsa", alg="RS256"))
    found = tokens(path, algorithms=["RS256", "PS256"])
    assert await found.caller(token(algorithm="RS256"))
    with pytest.raises(UnauthenticatedError):
        await found.caller(token(algorithm="PS256"))


async def test_the_token_does_not_choose_its_key(path: Path) -> None:
    """A key in the token's own header (`jwk`, `jku`) counts for nothing."""
    mine = public_jwk("rsa-mine")
    for header in ({"jwk": mine, "kid": "rsa"}, {"jku": "https://mine.example", "kid": "rsa"}):
        forged = jwt.encode(claims(), private_key("rsa-mine"), "RS256", header)
        assert await refusal(path, forged) == "The token is not valid."


@pytest.mark.parametrize("bad", ["a.b.c", "..", "\u2603.b.c", "a.b.c.d"])
async def test_rubbish_is_refused(path: Path, bad: str) -> None:
    assert await refusal(path, bad) == "The token is not valid."


async def test_a_short_key_proves_nothing(path: Path) -> None:
    write(path, public_jwk("short"))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weak = token("short")
    assert await refusal(path, weak) == "The token is not valid."


@pytest.mark.parametrize("algorithm", ["none", "HS256", "hs512", "", "RS1"])
def test_only_asymmetric_algorithms_can_be_set(path: Path, algorithm: str) -> None:
    with pytest.raises(ValueError, match="not an asymmetric signature"):
        tokens(path, algorithms=["RS256", algorithm])


def write(path: Path, *jwks: dict[str, Any]) -> None:
    path.write_text(json.dumps({"keys": jwks}))


def encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
