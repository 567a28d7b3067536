"""Who calls: the key or the token in a call's headers, the same on every port.

`x-api-key: <key>`, `Authorization: Bearer <key>` or `Authorization: Bearer <JSON web token>`.
"""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlserver.logging import logger
from mlserver.settings import Settings
from prometheus_client import Counter

from ..errors import UnauthenticatedError
from ..settings import AuthSettings
from .callers import ANYBODY, Caller
from .keys_file import KeysFile
from .socket_tokens import SocketTokens

if TYPE_CHECKING:
    from .tokens import Tokens

API_KEY, AUTHORIZATION = "x-api-key", "authorization"
BEARER = "bearer "
# What a model never sees of the headers of a request.
SECRET_HEADERS = frozenset(
    {API_KEY, AUTHORIZATION, "proxy-authorization", "sec-websocket-protocol"}
)

# MLServer's own metrics leave out what gets no further than the door.
REFUSED = Counter("auth_refused", "Calls refused at the door.", ["protocol", "status"])

MISSING = (
    "This call needs a key: send it as the header 'x-api-key', or a key or a token as "
    "'Authorization: Bearer ...'."
)
UNKNOWN = "The key is not known here."


class Authenticator:
    """Knows callers by their keys and tokens; without any in the settings, lets everybody in.

    Attributes:
        enabled: whether there are any in the settings.
        socket_tokens: those that open one socket each.
    """

    def __init__(self, settings: AuthSettings, folder: str = "."):
        """
        Args:
            folder: where the settings' relative paths begin.

        Raises:
            SystemExit: the file of keys, or of the issuer's keys, cannot be used.
        """
        keys, token = settings.keys_file, settings.jwt
        self._keys = KeysFile(os.path.join(folder, keys)) if keys is not None else None
        self._tokens: Tokens | None = None
        if token is not None:
            # Here: PyJWT takes as long to import as a quarter of the other modules together.
            from .issuer_keys import issuer_keys
            from .tokens import Tokens

            self._tokens = Tokens(token, issuer_keys(token.jwks, os.path.join(folder, token.jwks)))
        self.socket_tokens = SocketTokens()
        self.enabled = self._keys is not None or self._tokens is not None

    async def identify(self, headers: Mapping[str, Any]) -> Caller:
        """The caller with these headers; their names are in lower case.

        Raises:
            UnauthenticatedError: no key or token, or a wrong or an expired one.
            IssuerError: the token's issuer cannot be asked for its key.
        """
        if not self.enabled:
            return ANYBODY
        if secret := _text(headers.get(API_KEY)):
            if caller := self._by_key(secret):
                return caller
            raise UnauthenticatedError(UNKNOWN)
        authorization = _text(headers.get(AUTHORIZATION))
        if authorization[: len(BEARER)].lower() != BEARER:
            raise UnauthenticatedError(MISSING)
        secret = authorization[len(BEARER) :].strip()
        # Three parts with dots between; a key of ours has no dot.
        if self._tokens is not None and secret.count(".") == 2:
            return await self._tokens.caller(secret)
        if caller := self._by_key(secret):
            return caller
        raise UnauthenticatedError(UNKNOWN)

    def _by_key(self, secret: str) -> Caller | None:
        return self._keys.find(secret) if self._keys is not None else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


@functools.cache
def authenticator(settings: AuthSettings, folder: str) -> Authenticator:
    """The one for these settings: all ports share it, so that a file is read, and a fault in it
    logged, once."""
    return Authenticator(settings, folder)


def without_secrets(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that a model may see."""
    return {name: value for name, value in headers.items() if name not in SECRET_HEADERS}


def announce(settings: Settings, enabled: bool) -> None:
    """Say it loudly, once, when everybody in the network may call."""
    if not enabled and not is_loopback(settings.host):
        logger.warning(
            "ANYBODY WHO REACHES %s MAY USE THIS SERVICE, and load and unload its models: set "
            "streaming.auth.keys_file (docs/security.md), or listen on 127.0.0.1.",
            settings.host,
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
