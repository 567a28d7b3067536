"""Bytes as they lie in a store that others may write to: sealed for the place where they belong."""

from __future__ import annotations

import hashlib
import hmac

SEAL_BYTES = hashlib.sha256().digest_size


class ForgedError(ValueError):
    """These bytes were not sealed by this service for this place."""


class Seal:
    """The HMAC-SHA256 of the place and the bytes, before the bytes. Without a secret it tells
    faults only."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def close(self, place: tuple[str | int, ...], content: bytes) -> bytes:
        return self._of(place, content) + content

    def open(self, place: tuple[str | int, ...], sealed: bytes) -> bytes:
        """
        Raises:
            ForgedError
        """
        content = sealed[SEAL_BYTES:]
        if not hmac.compare_digest(sealed[:SEAL_BYTES], self._of(place, content)):
            raise ForgedError("cut short, or of another place or secret")
        return content

    def _of(self, place: tuple[str | int, ...], content: bytes) -> bytes:
        # A place's own form has its length before it: no two places and contents are one text.
        name = repr(place).encode()
        mac = hmac.new(self._secret, b"MSR1%d:%b" % (len(name), name), hashlib.sha256)
        mac.update(content)
        return mac.digest()
