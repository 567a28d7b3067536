"""An issuer of JSON web tokens for the tests: its keys, and tokens signed with them."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://issuer.example", "streaming"


@cache
def private_key(kid: str) -> Any:
    """A key of the kind that its name begins with; the same one for the same name."""
    if kid.startswith("rsa"):
        return rsa.generate_private_key(65537, 2048)
    if kid.startswith("short"):
        return rsa.generate_private_key(65537, 1024)  # the least that cryptography makes
    if kid.startswith("ed"):
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def public_jwk(kid: str, **fields: Any) -> dict[str, Any]:
    key = private_key(kid).public_key()
    kinds: Any = {"rsa": RSAAlgorithm, "short": RSAAlgorithm, "ed": OKPAlgorithm}
    kind = next((kinds[each] for each in kinds if kid.startswith(each)), ECAlgorithm)
    return {**json.loads(kind.to_jwk(key)), "kid": kid, "use": "sig", **fields}


def key_set(*kids: str) -> dict[str, Any]:
    return {"keys": [public_jwk(kid) for kid in kids]}


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; None leaves one out. Numbers are seconds from now."""
    found = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": 3600,  # made when tests are collected, used when their turn comes
        "roles": ["infer"],
        **changes,
    }
    now = int(time.time())
    return {
        name: now + value if isinstance(value, int) and name in ("exp", "nbf") else value
        for name, value in found.items()
        if value is not None
    }


def token(
    kid: str | None = "rsa", algorithm: str = "RS256", key: Any = None, **changes: Any
) -> str:
    headers = None if kid is None else {"kid": kid}
    signing = key if key is not None or algorithm == "none" else private_key(kid or "rsa")
    return jwt.encode(claims(**changes), signing, algorithm, headers)
