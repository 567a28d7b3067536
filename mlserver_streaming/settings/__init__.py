"""The "streaming" block of settings.json, validated.

streaming    the block, and how it is read
access, limits, workers, cache, wires, resume
             the blocks in it
values       the kinds of values that they have, with their bounds
file         the file; environment, the variables that win over it

MLServer ignores blocks that it does not know, so the file is read once more, here, at the door. It
knows no room: each is given the settings that it needs. docs/settings.md is generated from these
classes by settings_reference.py.
"""

from .access import AuthSettings, JwtSettings, TlsSettings
from .cache import CacheSettings
from .environment import NESTED, PREFIX
from .file import SETTINGS_FILE, settings_file
from .limits import LimitSettings
from .resume import ResumeSettings, StoreSettings
from .streaming import BLOCK, StreamingSettings
from .values import MIN_SECRET_CHARACTERS
from .wires import GrpcSettings, OpenAISettings, SharedMemorySettings
from .workers import WorkerSettings

__all__ = [
    "BLOCK",
    "MIN_SECRET_CHARACTERS",
    "NESTED",
    "PREFIX",
    "SETTINGS_FILE",
    "AuthSettings",
    "CacheSettings",
    "GrpcSettings",
    "JwtSettings",
    "LimitSettings",
    "OpenAISettings",
    "ResumeSettings",
    "SharedMemorySettings",
    "StoreSettings",
    "StreamingSettings",
    "TlsSettings",
    "WorkerSettings",
    "settings_file",
]
