"""The public keys of a tokens' issuer, from a file or from its URL.

A URL is asked in a thread and seldom: when the keys are old, or when a token names a key that is
not known (an issuer changes its keys). An issuer that does not answer leaves the keys known so far.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Protocol

import jwt
from mlserver.logging import logger

from ..errors import IssuerError
from ..watched_file import WatchedFile

# Checks signatures: a key bound to its algorithm, or a bare public key where the set names none.
PublicKey = Any
KeySet = dict[str | None, PublicKey]

# How long fetched keys count as fresh, as PyJWT's own client has it.
FRESH_SECONDS = 300.0
# Between two questions to an issuer, so that made-up tokens cannot make us flood it.
RETRY_SECONDS = 10.0
FETCH_SECONDS = 5.0
# Symmetric keys ("oct") never: whoever can check with one can also sign.
KEY_TYPES = ("RSA", "EC", "OKP")


class IssuerKeys(Protocol):
    async def find(self, kid: str | None) -> PublicKey | None:
        """The key of this id; without an id, the only key that there is.

        Raises:
            IssuerError: there may be such a key, and the issuer cannot be asked now.
        """


def issuer_keys(source: str, path: str) -> IssuerKeys:
    """The keys at a URL, or in the file at `path` when `source` is none.

    Raises:
        SystemExit: the file cannot be used.
    """
    if source.startswith(("http://", "https://")):
        client = jwt.PyJWKClient(source, cache_jwk_set=False, timeout=FETCH_SECONDS)
        return FetchedKeys(client.fetch_data)
    return FileKeys(path)


class FileKeys:
    def __init__(self, path: str):
        self._file = WatchedFile(path, "issuer's key set", _parse)

    async def find(self, kid: str | None) -> PublicKey | None:
        return _choose(self._file.value, kid)


class FetchedKeys:
    def __init__(self, fetch: Callable[[], Any], clock: Callable[[], float] = time.monotonic):
        """
        Args:
            fetch: gets the key set's JSON object; blocks, and may raise anything.
        """
        self._fetch = fetch
        self._clock = clock
        self._keys: KeySet = {}
        self._asked = self._answered = float("-inf")
        self._failed = False
        self._asking: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> PublicKey | None:
        if (key := _choose(self._keys, kid)) is not None:
            if self._clock() - self._answered > FRESH_SECONDS:
                self._ask()  # beside this call: the key that is known will do for it
            return key
        if (asking := self._ask()) is not None:
            # Shielded: several wait for it, and one that hangs up must not take it along.
            await asyncio.shield(asking)
            key = _choose(self._keys, kid)
        if key is None and self._failed:
            raise IssuerError
        return key

    def _ask(self) -> asyncio.Task[None] | None:
        """The question to the issuer that is under way; None when one was asked a moment ago."""
        if self._asking is None and self._clock() - self._asked >= RETRY_SECONDS:
            self._asked = self._clock()
            self._asking = asyncio.create_task(self._refresh())
        return self._asking

    async def _refresh(self) -> None:
        try:
            self._keys = _keys_of(await asyncio.to_thread(self._fetch))
        except Exception as error:
            # Every kind of broken network and of broken answer; the old keys stay.
            self._failed = True
            logger.error("The token issuer's keys cannot be fetched: %s", error)
        else:
            self._failed = False
            self._answered = self._clock()
        finally:
            self._asking = None


def _parse(data: bytes) -> KeySet:
    return _keys_of(json.loads(data))


def _keys_of(document: Any) -> KeySet:
    """The keys in a JWK set (RFC 7517) that can check signatures, by their ids.

    Raises:
        ValueError: there are none.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it is no JSON object with a list of 'keys'")
    found: KeySet = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") not in KEY_TYPES:
            continue
        if entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except jwt.PyJWTError:
            continue  # a kind that PyJWT does not know; the others will do
        found[entry.get("kid")] = key if entry.get("alg") else key.key
    if not found:
        raise ValueError("it holds no public key that can check signatures")
    return found


def _choose(keys: KeySet, kid: str | None) -> PublicKey | None:
    if kid is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(kid)
