"""The secret that seals what leaves for a shared store."""

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
    try:
        with open(path, "rb") as file:
            found = file.read(MAX_BYTES + 1).strip()
    except OSError as error:
        sys.exit(f"The {whose}'s secret_file {path} cannot be read: {error.strerror}.")
    if not MIN_SECRET_CHARACTERS <= len(found) <= MAX_BYTES:
        sys.exit(
            f"The {whose}'s secret_file {path} must hold {MIN_SECRET_CHARACTERS} to {MAX_BYTES} "
            "characters."
        )
    return found
