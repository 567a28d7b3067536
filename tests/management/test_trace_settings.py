"""The traces' settings by Triton's names."""

from __future__ import annotations

from typing import Any

import pytest
from mlserver.errors import MLServerError
from opentelemetry.sdk.trace import TracerProvider

from mlserver_streaming.access.callers import INFER, Caller, set_current
from mlserver_streaming.management.trace_settings import TraceSettings


def traced(settings: TraceSettings, calls: int = 400) -> int:
    """How many of so many calls are traced, by a tracer that was there before."""
    provider = TracerProvider(sampler=settings.sampler)
    tracer = provider.get_tracer("t")
    return sum(tracer.start_span("call").is_recording() for _ in range(calls))


def test_traces_are_switched_and_thinned_out() -> None:
    settings = TraceSettings(there=True)
    assert settings.read()["trace_level"] == ["TIMESTAMPS"]
    assert traced(settings) == 400
    assert settings.change({"trace_rate": "4"})["trace_rate"] == "4"
    assert 40 < traced(settings) < 200
    assert settings.change({"trace_level": ["OFF"]})["trace_level"] == ["OFF"]
    assert traced(settings) == 0
    back = settings.change({"trace_level": None, "trace_rate": None})
    assert (back["trace_level"], back["trace_rate"]) == (["TIMESTAMPS"], "1")
    assert traced(settings) == 400


def test_without_a_server_there_is_nothing_to_switch() -> None:
    settings = TraceSettings(there=False)
    assert settings.read()["trace_level"] == ["OFF"]
    assert settings.change({"trace_level": "OFF", "trace_count": "-1"}) == settings.read()
    with pytest.raises(MLServerError, match="tracing_server") as raised:
        settings.change({"trace_level": ["TIMESTAMPS"]})
    assert raised.value.status_code == 501


@pytest.mark.parametrize(
    ("changes", "model", "status", "words"),
    [
        ({"trace_all": "1"}, "", 400, "no trace setting 'trace_all'"),
        ({"trace_rate": "0"}, "", 400, "'trace_rate' must be"),
        ({"trace_rate": "-1"}, "", 400, "'trace_rate' must be"),
        ({"trace_rate": True}, "", 400, "'trace_rate' must be"),
        ({"trace_rate": "9" * 15}, "", 400, "'trace_rate' must be"),
        ({"trace_rate": ["1", "2"]}, "", 400, "'trace_rate' must be"),
        ({"trace_level": "LOUD"}, "", 400, "'trace_level' must be"),
        ({"trace_level": []}, "", 400, "'trace_level' must be"),
        ({"trace_level": 7}, "", 400, "'trace_level' must be"),
        ({"trace_level": ["TENSORS"]}, "", 501, "'trace_level' cannot be"),
        ({"trace_file": "/tmp/x"}, "", 501, "'trace_file' cannot be changed"),
        ({"trace_mode": "triton"}, "", 501, "'trace_mode' cannot be changed"),
        ({"trace_rate": "2"}, "m", 501, "for one model"),
    ],
)
def test_what_cannot_be_set_changes_nothing(
    changes: dict[str, Any], model: str, status: int, words: str
) -> None:
    settings = TraceSettings(there=True)
    before = settings.read()
    with pytest.raises(MLServerError, match=words) as raised:
        settings.change(changes, model)
    assert raised.value.status_code == status
    assert str(raised.value).endswith(".")
    assert settings.read() == before


async def test_only_an_admin_may() -> None:
    set_current(Caller("user", frozenset({INFER})))
    with pytest.raises(MLServerError) as raised:
        TraceSettings(there=True).change({"trace_level": None})
    assert raised.value.status_code == 403
