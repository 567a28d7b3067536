"""The log's settings by Triton's names.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_logging.html
"""

import logging
from collections.abc import Mapping
from typing import Any

from ..access.callers import current
from ..errors import BadRequestError, UnsupportedError, shown
from ..watch.stream_log import SERVERS, log_setting
from .changes import require_service_admin

MLSERVER = "mlserver"
# Who else has handlers of its own; the root, where `logging_settings` may have put some.
ELSEWHERE = ("", *SERVERS)
VERBOSE, FILE, FORMAT = "log_verbose_level", "log_file", "log_format"
# From the loudest on; a level that is off is off alone, as Triton has it.
FLAGS = {"log_error": logging.ERROR, "log_warning": logging.WARNING, "log_info": logging.INFO}
# What there is besides cannot be changed by callers: they are no one to name a file here.
FIXED = {FILE: "", FORMAT: "default"}
MOST_VERBOSE = 2**32 - 1


class LogSettings:
    """Which lines are written, by this process; worker processes keep what they began with."""

    def __init__(self) -> None:
        self._found: dict[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        """`log_error`, `log_warning`, `log_info`, `log_verbose_level`, `log_file`, `log_format`."""
        return {**FIXED, **(self._found or _as_set_up())}

    def change(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change some; None leaves one as it is. All of them afterwards.

        Raises:
            ForbiddenError: the caller is no admin of the service.
            UnsupportedError: one is not changed while the service runs.
            BadRequestError: there is no such setting, or its value is of the wrong kind.
        """
        require_service_admin()
        wanted = {name: value for name, value in changes.items() if value is not None}
        for name, value in changes.items():
            _check(name, value)
        before = self._found or _as_set_up()
        self._found = before | {k: value for k, value in wanted.items() if k not in FIXED}
        # Who turned the lines off that tell of it is told of before, who turned them on after.
        if before["log_info"]:
            log_setting("log", current().name, wanted)
        _apply(self._found)
        if not before["log_info"]:
            log_setting("log", current().name, wanted)
        return self.read()


def _check(name: str, value: Any) -> None:
    if name in FIXED:
        if value not in (None, FIXED[name]):
            raise UnsupportedError(
                f"Log setting '{name}' cannot be changed while the service runs; see "
                "`logging_settings` in settings.json."
            )
    elif name in FLAGS:
        if value is not None and not isinstance(value, bool):
            raise BadRequestError(f"Log setting '{name}' must be true or false.")
    elif name == VERBOSE:
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_VERBOSE
        ):
            raise BadRequestError(f"Log setting '{name}' must be a whole number, 0 or more.")
    else:
        known = ", ".join([*FLAGS, VERBOSE, *FIXED])
        raise BadRequestError(f"There is no log setting '{shown(name)}'; there are {known}.")


def _as_set_up() -> dict[str, Any]:
    level = logging.getLogger(MLSERVER).getEffectiveLevel()
    flags = {name: level <= least for name, least in FLAGS.items()}
    return {**flags, VERBOSE: int(level <= logging.DEBUG)}


class _Wanted(logging.Filter):
    """Lets the lines of the levels pass that are on."""

    def __init__(self, settings: Mapping[str, Any]):
        super().__init__()
        self._settings = settings

    def filter(self, record: logging.LogRecord) -> bool:
        for name, least in FLAGS.items():
            if record.levelno >= least:
                return bool(self._settings[name])
        return bool(self._settings[VERBOSE])


def _apply(settings: Mapping[str, Any]) -> None:
    for name in (MLSERVER, *ELSEWHERE):
        for handler in logging.getLogger(name).handlers:
            for each in [each for each in handler.filters if isinstance(each, _Wanted)]:
                handler.removeFilter(each)
            handler.addFilter(_Wanted(settings))
    on = [least for name, least in FLAGS.items() if settings[name]]
    lowest = logging.DEBUG if settings[VERBOSE] else min(on, default=logging.CRITICAL)
    logging.getLogger(MLSERVER).setLevel(lowest)
