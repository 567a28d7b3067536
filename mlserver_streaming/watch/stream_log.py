"""One line for each stream at its end and for each model that a caller moves; and JSON that parses,
where MLServer's log is to be JSON."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from mlserver.logging import ModelLoggerFormatter
from mlserver.settings import Settings

logger = logging.getLogger("mlserver.streams")
# Who loaded and unloaded what.
repository = logging.getLogger("mlserver.repository")
# A name that a caller made up, up to here.
MAX_NAME_CHARACTERS = 128
# Printable ASCII without the blank, the quote, the equals sign and the backslash.
PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
# Who writes lines beside MLServer, each with a handler of its own.
SERVERS = ("uvicorn", "uvicorn.access")


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
            line["exception"] = self.formatException(record.exc_info)
        # ASCII: some readers take U+2028, say, for a line's end.
        return json.dumps(line, default=str)


def configure(settings: Settings) -> None:
    """Let all lines be JSON where the settings want that; `logging_settings` win over it."""
    if not settings.use_structured_logging or settings.logging_settings:
        return
    for name in ("mlserver", *SERVERS):
        for handler in logging.getLogger(name).handlers:
            if name in SERVERS or isinstance(handler.formatter, ModelLoggerFormatter):
                handler.setFormatter(JsonFormatter())


def log_end(**fields: Any) -> None:
    """Write the line: id, model, version, protocol, key, requests, responses, seconds, reason."""
    _log(logger, "stream ended", fields)


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


def _log(to: logging.Logger, what: str, fields: dict[str, Any]) -> None:
    if not to.isEnabledFor(logging.INFO):
        return
    said = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
    to.info("%s: %s", what, said, extra={"fields": fields})


def _quoted(value: Any) -> str:
    """A value on one line, in quotes where it needs them: ids are the callers' own text."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
