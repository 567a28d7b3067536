"""One line for each stream at its end."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
from mlserver.logging import logger as mlserver_logger
from mlserver.settings import Settings

logger = logging.getLogger("mlserver.streams")


class JsonFormatter(logging.Formatter):
    """A line of JSON; MLServer's own structured format would not quote what it holds."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "name": record.name,
            "level": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return orjson.dumps(line, default=str).decode()


def configure(settings: Settings) -> None:
    """Let the lines be JSON where MLServer's are; else they go the way of MLServer's."""
    logger.handlers.clear()
    logger.propagate = not settings.use_structured_logging
    if settings.use_structured_logging:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.setLevel(mlserver_logger.level or logging.INFO)


def log_end(**fields: Any) -> None:
    """Write the line: id, model, version, protocol, key, requests, responses, seconds, reason."""
    if not logger.isEnabledFor(logging.INFO):
        return
    said = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
    logger.info("stream ended: %s", said, extra={"fields": fields})


def _quoted(value: Any) -> str:
    """A value on one line, in quotes where it needs them: ids are the callers' own text."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    plain = text.isascii() and text.isprintable() and not set(text) & set(' "=\\') and text
    return text if plain else orjson.dumps(text).decode()
