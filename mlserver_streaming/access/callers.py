"""Who calls, and what a caller may do."""

from __future__ import annotations

import base64
import hashlib
import json
from contextvars import ContextVar
from dataclasses import dataclass

from ..errors import ForbiddenError

# An admin may do what an `infer` caller may, and load and unload models.
INFER, ADMIN = "infer", "admin"
ROLES = (INFER, ADMIN)
# What can name a caller: two kinds never mean the same one by the same name.
KEY, TOKEN = "key", "token"
# Before a token's subject, where callers are shown: no new key's name begins with it.
TOKEN_PREFIX = "jwt:"
IDENTITY_CHARACTERS = 22  # 132 bits in base64: nobody finds a second subject with the same


@dataclass(frozen=True, slots=True)
class Caller:
    """One who was let in.

    Attributes:
        name: the key's name, or the token's subject, shortened: for people to read, never to tell
            callers apart by.
        roles: of ROLES.
        models: the only ones that this caller may use; None is all.
        identity: who it is (`identity_of`): what is kept for a caller is kept under this. Left out,
            that of a key of this name; empty where everybody is the same.
    """

    name: str
    roles: frozenset[str]
    models: frozenset[str] | None = None
    identity: str = ""

    def __post_init__(self) -> None:
        if self.name and not self.identity:
            object.__setattr__(self, "identity", identity_of(KEY, "", self.name))

    def has(self, role: str) -> bool:
        return role in self.roles or ADMIN in self.roles

    def may_use(self, model_name: str) -> bool:
        return self.models is None or model_name in self.models


def identity_of(kind: str, issuer: str, subject: str) -> str:
    """A short text that stands for one caller and for no other.

    Args:
        kind: KEY or TOKEN.
        issuer: who vouches for the subject; empty for a key.
        subject: whole, however long.
    """
    digest = hashlib.sha256(json.dumps([kind, issuer, subject]).encode()).digest()
    return base64.urlsafe_b64encode(digest)[:IDENTITY_CHARACTERS].decode()


# Where there are no keys, and for calls that stay open where there are some.
ANYBODY = Caller("", frozenset(ROLES))
NOBODY = Caller("nobody", frozenset(), frozenset())

_CURRENT: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)


def set_current(caller: Caller) -> None:
    """Make it the caller of this task, and of the tasks that it begins."""
    _CURRENT.set(caller)


def current() -> Caller:
    """The caller whom this task serves."""
    return _CURRENT.get()


def key_name() -> str | None:
    """The current caller's name; None where there are no keys."""
    return _CURRENT.get().name or None


def require(role: str) -> None:
    """Refuse the current caller without this role.

    Raises:
        ForbiddenError
    """
    caller = _CURRENT.get()
    if not caller.has(role):
        raise ForbiddenError(f"This needs the role '{role}', which '{caller.name}' does not have.")


def authorise(model_name: str) -> None:
    """Refuse the current caller this model, whether it exists or not.

    Raises:
        ForbiddenError
    """
    caller = _CURRENT.get()
    if not caller.may_use(model_name):
        raise ForbiddenError(f"'{caller.name}' may not use model '{model_name}'.")
