"""The line at a stream's end: one line, whatever is in it; JSON where JSON is wanted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.logging import ModelLoggerFormatter
from mlserver.settings import Settings

from mlserver_streaming.watch import stream_log
from mlserver_streaming.watch.stream_log import JsonFormatter

FIELDS = {
    "model": "m",
    "version": "",
    "protocol": "rest",
    "key": "",
    "requests": 1,
    "responses": 3,
    "seconds": 0.25,
    "reason": "completed",
}
HOSTILE = 'a"\nmlserver ERROR - "b\\\r\x1b[2J\u2028\x85\x00'
ANY_TEXT = st.text() | st.text(st.sampled_from('\n\r\x85\u2028\u2029"\\ =\x1b\ud800'))


class Lines(logging.Handler):
    """Keeps the lines as a formatter writes them."""

    def __init__(self, formatter: logging.Formatter):
        super().__init__()
        self.setFormatter(formatter)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


def written(formatter: logging.Formatter, **fields: object) -> str:
    lines = Lines(formatter)
    stream_log.logger.addHandler(lines)
    stream_log.logger.setLevel(logging.INFO)
    try:
        stream_log.log_end(**fields)
    finally:
        stream_log.logger.removeHandler(lines)
        stream_log.logger.setLevel(logging.NOTSET)
    [line] = lines.found
    return line


def test_a_plain_line():
    line = written(logging.Formatter("%(message)s"), id="7", **FIELDS)
    assert line == (
        'stream ended: id=7 model=m version="" protocol=rest key="" requests=1 responses=3 '
        "seconds=0.250 reason=completed"
    )


def test_a_line_s_record_is_as_any_other(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, stream_log.logger.name):
        for _ in range(2):
            stream_log.log_end(id="7", **FIELDS)
        stream_log.logger.info("another")
    first, second, other = caplog.records
    assert vars(first).keys() == vars(other).keys() | {"fields"}
    assert first.created <= second.created <= other.created
    assert 0 <= second.msecs < 1000
    assert first.relativeCreated <= second.relativeCreated
    assert (first.threadName, first.process) == (other.threadName, other.process)
    assert first.fields == second.fields and first.fields is not second.fields


@given(ANY_TEXT)
def test_a_plain_line_is_one_line_and_nothing_in_it_looks_like_another_field(text: str):
    line = written(logging.Formatter("%(message)s"), id=text, **FIELDS)
    assert line.splitlines() == [line]
    assert line.isascii() and line.isprintable()
    quoted, _, _ = line.removeprefix("stream ended: id=").rpartition(" model=m ")
    if quoted.startswith('"'):
        assert json.loads(quoted) == text
    else:
        assert quoted == text and not set(text) & set(' "=')


@given(ANY_TEXT)
def test_a_line_of_json_is_one_line_and_parses(text: str):
    line = written(JsonFormatter(), id=text, **FIELDS)
    assert line.splitlines() == [line]
    found = json.loads(line)
    assert {name: found[name] for name in FIELDS} == FIELDS
    assert found["id"] == text
    assert (found["name"], found["level"]) == ("mlserver.streams", "INFO")


def test_an_exception_is_a_field():
    lines = Lines(JsonFormatter())
    log = logging.Logger("mlserver")
    log.addHandler(lines)
    try:
        raise ValueError("of\ntwo lines")
    except ValueError:
        log.exception("Request %a failed.", HOSTILE)
    [line] = lines.found
    found = json.loads(line)
    assert "\n" not in line
    assert "ValueError: of\ntwo lines" in found["exception"]
    assert "\n" not in found["message"]


@pytest.fixture
def loggers() -> Iterator[dict[str, logging.Handler]]:
    """A handler for each logger, as MLServer and uvicorn make them."""
    found = {name: logging.StreamHandler() for name in ("mlserver", *stream_log.SERVERS)}
    found["mlserver"].setFormatter(ModelLoggerFormatter(None))
    for name, handler in found.items():
        logging.getLogger(name).addHandler(handler)
    yield found
    for name, handler in found.items():
        logging.getLogger(name).removeHandler(handler)


def test_structured_logging_is_json_everywhere(loggers: dict[str, logging.Handler]):
    stream_log.configure(Settings(use_structured_logging=True))
    assert {type(handler.formatter) for handler in loggers.values()} == {JsonFormatter}


@pytest.mark.parametrize(
    "settings", [{}, {"use_structured_logging": True, "logging_settings": {"version": 1}}]
)
def test_else_the_handlers_stay_as_they_are(
    loggers: dict[str, logging.Handler], settings: dict[str, object]
):
    before = {name: handler.formatter for name, handler in loggers.items()}
    stream_log.configure(Settings(**settings))
    assert {name: handler.formatter for name, handler in loggers.items()} == before


def test_a_handler_of_the_user_s_own_keeps_its_format(loggers: dict[str, logging.Handler]):
    own = logging.Formatter("%(message)s")
    loggers["mlserver"].setFormatter(own)
    stream_log.configure(Settings(use_structured_logging=True))
    assert loggers["mlserver"].formatter is own


def test_nothing_that_callers_send_makes_a_long_line(loggers: dict[str, logging.Handler]):
    stream_log.configure(Settings())
    [handler] = [
        each for each in logging.getLogger("mlserver").handlers if each in loggers.values()
    ]
    kept: list[str] = []
    handler.emit = lambda record: kept.append(handler.format(record))  # type: ignore[method-assign]
    log = logging.getLogger("mlserver.streams")
    log.setLevel(logging.INFO)
    stream_log.log_end(id="x" * 5_000_000, **FIELDS)
    log.warning("It was %s.", "x" * 5_000_000)
    try:
        raise ValueError("first", "x" * 5_000_000, "\n" * 5_000_000)
    except ValueError:
        log.exception("Failed.")
    ended, warned, failed = kept
    assert len(ended) < 1000 and len(warned) < 5000 and len(failed) < 50_000
    assert "id=" + "x" * 100 in ended
    assert "ValueError: ('first'" in failed
