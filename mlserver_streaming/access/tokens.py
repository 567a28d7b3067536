"""JSON web tokens of one issuer: whose they are, checked with the issuer's public keys.

https://www.rfc-editor.org/rfc/rfc8725 says what to take care of. The algorithm is one of those in
the settings, all of them asymmetric, and must fit the key: no token says by itself how it is to be
checked.
"""

from __future__ import annotations

from typing import Any

import jwt

from ..errors import UnauthenticatedError
from ..settings import JwtSettings
from .callers import TOKEN, TOKEN_PREFIX, Caller, identity_of
from .issuer_keys import IssuerKeys

# Without these a token could be for anybody, or for ever.
REQUIRED = ["exp", "iss", "aud"]
MAX_NAME_CHARACTERS = 100
# What a token's holder is told; all else is "not valid", and never the library's own words.
SAID: dict[type[jwt.InvalidTokenError], str] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is not valid yet.",
    jwt.InvalidAudienceError: "The token is for another audience.",
    jwt.InvalidIssuerError: "The token is from another issuer.",
    jwt.InvalidAlgorithmError: "The token's algorithm is not taken here.",
}
NOBODY_NAMED = "The token names nobody: its claim 'sub' must be a text."
INVALID = "The token is not valid."


class Tokens:
    """The tokens that are taken."""

    def __init__(self, settings: JwtSettings, keys: IssuerKeys):
        self._settings = settings
        self._keys = keys
        # `Any`: the option for short keys came with PyJWT 2.11.
        options: Any = {
            "require": REQUIRED,
            "enforce_minimum_key_length": True,
            "verify_sub": False,  # we say ourselves what is wrong with it
        }
        self._jwt = jwt.PyJWT(options)

    async def caller(self, token: str) -> Caller:
        """Whose token it is.

        Raises:
            UnauthenticatedError: it is not valid here.
            IssuerError: its key is not known, and the issuer cannot be asked.
        """
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self._keys.find(kid)
            if key is None:
                raise UnauthenticatedError("The token's key is not one of its issuer.")
            claims = self._jwt.decode(
                token,
                key,
                algorithms=self._settings.algorithms,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=self._settings.leeway_seconds,
            )
        except jwt.InvalidTokenError as error:
            raise UnauthenticatedError(SAID.get(type(error), INVALID)) from None
        except (jwt.PyJWTError, TypeError, ValueError):
            # A key of another kind than the algorithm's, say.
            raise UnauthenticatedError(INVALID) from None
        return self._caller_of(claims)

    def _caller_of(self, claims: dict[str, Any]) -> Caller:
        models_claim = self._settings.models_claim
        roles = _names(claims.get(self._settings.roles_claim, []), self._settings.roles_claim)
        models = _names(claims[models_claim], models_claim) if models_claim in claims else None
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise UnauthenticatedError(NOBODY_NAMED)
        identity = identity_of(TOKEN, self._settings.issuer, subject)
        return Caller(f"{TOKEN_PREFIX}{_printable(subject)}", roles, models, identity)


def _names(claim: Any, name: str) -> frozenset[str]:
    """A claim's names: a list of them, or one text with spaces between, as `scope` has it."""
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list) and all(isinstance(each, str) for each in claim):
        return frozenset(claim)
    raise UnauthenticatedError(f"The token's claim '{name}' is not a list of names.")


def _printable(subject: str) -> str:
    """A subject fit for a log line."""
    text = subject[:MAX_NAME_CHARACTERS]
    more = "..." if len(subject) > len(text) else ""
    return "".join(each if each.isprintable() else "?" for each in text) + more
