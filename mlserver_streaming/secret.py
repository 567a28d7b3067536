"""The secret that seals what leaves for a shared store, and the password of one."""

from __future__ import annotations

import os
import sys

from .settings import MIN_SECRET_CHARACTERS, CacheSettings, StoreSettings

# Far above any secret: whatever is larger is another file.
MAX_BYTES = 4096


def secret_of(settings: CacheSettings | StoreSettings, folder: str, whose: str = "cache") -> bytes:
    """The secret in the settings or in their file; empty where there is none.

    Args:
        folder: where the settings' relative paths begin.
        whose: the block, in sentences.

    Raises:
        SystemExit: the file cannot be read, or holds no secret.
    """
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    if settings.secret_file is None:
        return b""
    path = os.path.join(folder, settings.secret_file)
    return _content(path, f"The {whose}'s secret_file", MIN_SECRET_CHARACTERS)


def password_of(settings: StoreSettings, folder: str) -> str | None:
    """The password in the settings' file; None where they name none.

    Args:
        folder: where the settings' relative paths begin.

    Raises:
        SystemExit: the file cannot be read, or holds none.
    """
    if settings.password_file is None:
        return None
    path = os.path.join(folder, settings.password_file)
    return _content(path, "The store's password_file", 1).decode(errors="surrogateescape")


def _content(path: str, what: str, least: int) -> bytes:
    try:
        with open(path, "rb") as file:
            found = file.read(MAX_BYTES + 1).strip()
    except OSError as error:
        sys.exit(f"{what} {path} cannot be read: {error.strerror}.")
    if not least <= len(found) <= MAX_BYTES:
        sys.exit(f"{what} {path} must hold {least} to {MAX_BYTES} characters.")
    return found
