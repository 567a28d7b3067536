"""The file of API keys: who may call, without the keys themselves.

[{"name": "camera-7", "sha256": "<64 hex digits>", "roles": ["infer"],
  "models": ["jpeg-model"], "expires": "2027-01-31T23:59:59Z"}]

`models` left out is all of them, `expires` left out is never. The keys have 256 random bits, so
that one round of SHA-256 is enough to keep them from a reader of the file.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from ..errors import UnauthenticatedError
from ..watched_file import WatchedFile
from .callers import Caller

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@:+-]{0,63}$")]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Key(BaseModel):
    """One key, as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    roles: Annotated[tuple[Literal["infer", "admin"], ...], Field(min_length=1)]
    models: tuple[ModelName, ...] | None = None
    expires: AwareDatetime | None = None

    def caller(self) -> Caller:
        models = None if self.models is None else frozenset(self.models)
        return Caller(self.name, frozenset(self.roles), models)


KEYS = TypeAdapter(list[Key])


def digest(secret: str) -> bytes:
    # A header can hold any bytes; no text may make this raise.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def parse_keys(data: bytes) -> list[Key]:
    """The keys in a file's bytes.

    Raises:
        ValueError: it is not a file of keys; the text says why, without quoting it.
    """
    try:
        keys = KEYS.validate_json(data)
    except ValidationError as error:
        first: Any = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where + ': ' if where else ''}{first['msg']}") from None
    for field in ("name", "sha256"):
        values = [getattr(key, field) for key in keys]
        if len(set(values)) < len(values):
            raise ValueError(f"two keys have the same {field}")
    return keys


class KeysFile:
    """The keys that are in force."""

    def __init__(self, path: str):
        """
        Raises:
            SystemExit: there is no such file, or it is not one of keys.
        """
        self._file = WatchedFile(path, "file of keys", _entries)

    def find(self, secret: str) -> Caller | None:
        """The caller with this key.

        Raises:
            UnauthenticatedError: the key has expired.
        """
        asked = digest(secret)
        found: tuple[Caller, datetime | None] | None = None
        # All of them, whichever it is: the time taken tells nothing.
        for known, caller, expires in self._file.value:
            if hmac.compare_digest(known, asked):
                found = caller, expires
        if found is None:
            return None
        caller, expires = found
        if expires is not None and expires <= datetime.now(UTC):
            raise UnauthenticatedError(f"The key '{caller.name}' has expired.")
        return caller


def _entries(data: bytes) -> list[tuple[bytes, Caller, datetime | None]]:
    return [(bytes.fromhex(key.sha256), key.caller(), key.expires) for key in parse_keys(data)]
