"""One line for each stream at its end and for each model that a caller moves; and JSON that parses,
where MLServer's log is to be JSON."""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from mlserver.logging import ModelLoggerFormatter
from mlserver.settings import Settings

from ..errors import shortened

logger = logging.getLogger("mlserver.streams")
# Who loaded and unloaded what, and who changed a setting.
repository = logging.getLogger("mlserver.repository")
# A name that a caller made up, up to here.
MAX_NAME_CHARACTERS = 128
# Printable ASCII without the blank, the quote, the equals sign and the backslash.
PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
# Who writes lines beside MLServer, each with a handler of its own.
SERVERS = ("uvicorn", "uvicorn.access")
# A line, and a traceback, may quote what a caller sent.
MAX_LINE_CHARACTERS, MAX_TRACEBACK_CHARACTERS = 4096, 32 * 1024


# Models, and callers, whose names are kept as they are written.
KEPT = 256
TRACEBACKS = logging.Formatter()


class JsonFormatter(logging.Formatter):
    """A line of JSON. MLServer's own structured format quotes nothing of what it holds, and uvicorn
    has none."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "name": record.name,
            "level": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        # ASCII: some readers take U+2028, say, for a line's end.
        return json.dumps(line, default=str)


def bound(record: logging.LogRecord) -> bool:
    """Cut what is too long out of a record; a filter of handlers, which lets all pass."""
    text = record.getMessage()
    if len(text) > MAX_LINE_CHARACTERS:
        record.msg, record.args = _cut(text), None
    if record.exc_info and record.exc_info[0] and not record.exc_text:
        lines = TRACEBACKS.formatException(record.exc_info).split("\n")
        whole = "\n".join(map(_cut, lines))
        record.exc_text = whole[:MAX_TRACEBACK_CHARACTERS]
    return True


def _cut(text: str) -> str:
    more = len(text) - MAX_LINE_CHARACTERS
    return text if more <= 0 else f"{text[:MAX_LINE_CHARACTERS]}... ({more} characters more)"


def configure(settings: Settings) -> None:
    """Bound all lines, and let them be JSON where the settings want that; `logging_settings` win
    over the latter."""
    for name in ("mlserver", *SERVERS):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(bound)
    if not settings.use_structured_logging or settings.logging_settings:
        return
    for name in ("mlserver", *SERVERS):
        for handler in logging.getLogger(name).handlers:
            if name in SERVERS or isinstance(handler.formatter, ModelLoggerFormatter):
                handler.setFormatter(JsonFormatter())


def log_end(
    id: str,
    model: str,
    version: str,
    protocol: str,
    key: str,
    requests: int,
    responses: int,
    seconds: float,
    reason: str,
) -> None:
    """Write the line of a stream."""
    if not logger.isEnabledFor(logging.INFO):
        return
    id = shortened(id)
    fields = {
        "id": id,
        "model": model,
        "version": version,
        "protocol": protocol,
        "key": key,
        "requests": requests,
        "responses": responses,
        "seconds": seconds,
        "reason": reason,
    }
    # By hand, for a short stream it is a part of its cost that can be seen: no look at who logs,
    # and what many streams share is quoted once.
    who = _named(model, version, protocol, key)
    counts = f"requests={requests} responses={responses} seconds={seconds:.3f} reason={reason}"
    line = f"stream ended: id={_quoted(id)} {who} {counts}"
    record = logging.LogRecord.__new__(logging.LogRecord)
    like, now = _record(os.getpid(), threading.get_ident()), time.time()
    record.__dict__ = like | {
        "msg": line,
        "fields": fields,
        "created": now,
        "msecs": int((now - int(now)) * 1000) + 0.0,
        "relativeCreated": like["relativeCreated"] + (now - like["created"]) * 1000,
    }
    logger.handle(record)


@lru_cache(KEPT)
def _record(process: int, thread: int) -> dict[str, Any]:
    """What the lines of one thread share. To make a record finds it out again, each time."""
    like = logging.LogRecord(logger.name, logging.INFO, __file__, 0, "", None, None)
    return vars(like) | ({"taskName": None} if hasattr(like, "taskName") else {})


@lru_cache(KEPT)
def _named(model: str, version: str, protocol: str, key: str) -> str:
    named = {"model": model, "version": version, "protocol": protocol, "key": key}
    return " ".join(f"{name}={_quoted(shortened(value))}" for name, value in named.items())


def log_repository(call: str, model: str, key: str, result: str, seconds: float) -> None:
    """Write the line of a repository call.

    Args:
        call: load or unload.
        model: as the caller named it.
        key: the shown name of the caller's key; empty where there are no keys.
        result: loaded, unloaded, cancelled, or the status of the refusal or failure.
    """
    if len(model) > MAX_NAME_CHARACTERS:
        model = model[:MAX_NAME_CHARACTERS] + "..."
    fields = {"call": call, "model": model, "key": key, "result": result, "seconds": seconds}
    _log(repository, "repository call", fields)


def log_setting(which: str, key: str, changed: Mapping[str, Any]) -> None:
    """Write the line of a change of the service's settings.

    Args:
        which: log or trace.
        key: the shown name of the caller's key; empty where there are no keys.
    """
    _log(repository, "setting changed", {"of": which, "key": key, **changed})


def _log(to: logging.Logger, what: str, fields: dict[str, Any]) -> None:
    if not to.isEnabledFor(logging.INFO):
        return
    fields = {name: shortened(v) if isinstance(v, str) else v for name, v in fields.items()}
    said = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
    to.info("%s: %s", what, said, extra={"fields": fields})


def _quoted(value: Any) -> str:
    """A value on one line, in quotes where it needs them: ids are the callers' own text."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
