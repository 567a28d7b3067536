"""The log's settings by Triton's names."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from mlserver.errors import MLServerError

from mlserver_streaming.access.callers import ADMIN, INFER, Caller, set_current
from mlserver_streaming.management import log_settings
from mlserver_streaming.management.log_settings import LogSettings

LEVELS = ("debug", "info", "warning", "error")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a logger that stands for MLServer's writes."""
    text = io.StringIO()
    logger = logging.getLogger("tests.mlserver")
    handler = logging.StreamHandler(text)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    monkeypatch.setattr(log_settings, "MLSERVER", logger.name)
    monkeypatch.setattr(log_settings, "ELSEWHERE", ())
    yield text
    logger.removeHandler(handler)


def heard(text: io.StringIO) -> list[str]:
    text.seek(0)
    text.truncate()
    logger = logging.getLogger("tests.mlserver.streams")
    for level in LEVELS:
        getattr(logger, level)(level)
    return text.getvalue().split()


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["info", "warning", "error"]),
        ({"log_verbose_level": 1}, ["debug", "info", "warning", "error"]),
        ({"log_info": False}, ["warning", "error"]),
        ({"log_warning": False}, ["info", "error"]),
        ({"log_info": False, "log_verbose_level": 2}, ["debug", "warning", "error"]),
        ({"log_info": False, "log_warning": False, "log_error": False}, []),
        ({"log_error": None, "log_file": "", "log_format": "default"}, LEVELS[1:]),
    ],
)
def test_each_level_is_switched_for_itself(
    written: io.StringIO, changes: dict[str, Any], lines: list[str]
) -> None:
    settings = LogSettings()
    found = settings.change(changes) if changes else settings.read()
    assert heard(written) == list(lines)
    assert found.items() >= {k: v for k, v in changes.items() if v is not None}.items()
    back = {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0}
    assert (
        settings.change(back)
        == settings.read()
        == {"log_file": "", "log_format": "default", **back}
    )
    assert heard(written) == ["info", "warning", "error"]


def test_it_begins_with_what_was_set_up(written: io.StringIO) -> None:
    logging.getLogger("tests.mlserver").setLevel(logging.WARNING)
    found = LogSettings().read()
    assert (found["log_error"], found["log_warning"], found["log_info"]) == (True, True, False)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"log_all": True}, 400, "no log setting 'log_all'"),
        ({"log_info": 1}, 400, "'log_info' must be true or false"),
        ({"log_info": "false"}, 400, "'log_info' must be true or false"),
        ({"log_verbose_level": True}, 400, "whole number"),
        ({"log_verbose_level": -1}, 400, "whole number"),
        ({"log_verbose_level": 1.5}, 400, "whole number"),
        ({"log_verbose_level": 2**64}, 400, "whole number"),
        ({"log_file": "/etc/passwd"}, 501, "'log_file' cannot be changed"),
        ({"log_format": "ISO8601"}, 501, "'log_format' cannot be changed"),
        ({"log_format": ["x"]}, 501, "'log_format' cannot be changed"),
        ({"log_info": False, "nonsense\n": 1}, 400, "no log setting"),
    ],
)
def test_what_cannot_be_set_changes_nothing(
    written: io.StringIO, changes: dict[str, Any], status: int, words: str
) -> None:
    settings = LogSettings()
    before = settings.read()
    with pytest.raises(MLServerError, match=words) as raised:
        settings.change(changes)
    assert raised.value.status_code == status
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")
    assert settings.read() == before
    assert heard(written) == ["info", "warning", "error"]


@pytest.mark.parametrize(
    "caller",
    [
        Caller("user", frozenset({INFER})),
        Caller("boss of one", frozenset({ADMIN}), frozenset({"m"})),
    ],
)
async def test_only_an_admin_of_the_service_may(written: io.StringIO, caller: Caller) -> None:
    set_current(caller)
    settings = LogSettings()
    with pytest.raises(MLServerError) as raised:
        settings.change({"log_info": False})
    assert raised.value.status_code == 403
    assert settings.read()["log_info"] is True
