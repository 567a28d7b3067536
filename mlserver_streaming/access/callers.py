"""Who calls, and what a caller may do."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from ..errors import ForbiddenError

# An admin may do what an `infer` caller may, and load and unload models.
INFER, ADMIN = "infer", "admin"
ROLES = (INFER, ADMIN)


@dataclass(frozen=True, slots=True)
class Caller:
    """One who was let in.

    Attributes:
        name: the key's name, or the token's subject; fit for logs.
        roles: of ROLES.
        models: the only ones that this caller may use; None is all.
    """

    name: str
    roles: frozenset[str]
    models: frozenset[str] | None = None

    def has(self, role: str) -> bool:
        return role in self.roles or ADMIN in self.roles

    def may_use(self, model_name: str) -> bool:
        return self.models is None or model_name in self.models


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
