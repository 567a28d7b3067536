"""What a stream's figures become in the collectors: at once, while it runs, and at its end."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from mlserver_streaming.watch import metrics as module
from mlserver_streaming.watch.adding import Observed
from mlserver_streaming.watch.metrics import REASONS, SECONDS, StreamMetrics

LABELS = {"model_name": "m", "model_version": "", "protocol": "rest"}


@pytest.fixture
def metrics() -> Iterator[StreamMetrics]:
    before = set(REGISTRY._collector_to_names)
    yield StreamMetrics()
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still; `now` moves it."""
    found = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: found.now)
    return found


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, LABELS | labels)


def test_a_stream_from_beginning_to_end(metrics: StreamMetrics, clock: SimpleNamespace):
    requests = SimpleNamespace(count=1)
    stream = metrics.stream("m", None, "rest", requests)
    assert value("stream_active") == 1
    for seconds in (2.0, 0.25, 0.5):
        clock.now += seconds
        stream.responded()
    assert value("stream_first_response_seconds_sum") == 2.0
    assert stream.responses == 3
    requests.count = 2
    stream.failed()
    clock.now += 0.25
    assert stream.ended("completed") == 3.0
    assert value("stream_active") == 0
    assert value("stream_requests_total") == 2
    assert value("stream_responses_total") == 3
    assert value("stream_request_errors_total") == 1
    assert value("stream_duration_seconds_sum") == 3.0
    assert value("stream_response_interval_seconds_count") == 2
    assert value("stream_response_interval_seconds_sum") == 0.75
    assert value("stream_response_interval_seconds_bucket", le="0.25") == 1
    assert value("stream_response_interval_seconds_bucket", le="0.5") == 2
    assert value("stream_terminated_total", reason="completed") == 1


def test_a_running_stream_is_seen_before_its_end(metrics: StreamMetrics):
    requests = SimpleNamespace(count=1)
    stream = metrics.stream("m", None, "rest", requests)
    stream.responded()
    stream.responded()
    assert not value("stream_responses_total")
    for _ in range(2):  # what was handed over is not handed over again
        metrics.hand_over()
        assert value("stream_responses_total") == 2
        assert value("stream_requests_total") == 1
        assert value("stream_response_interval_seconds_count") == 1
    stream.responded()
    stream.ended("drain")
    assert value("stream_responses_total") == 3
    assert value("stream_requests_total") == 1
    assert not metrics._live
    metrics.hand_over()
    assert value("stream_responses_total") == 3


def test_every_end_is_counted_from_0_on(metrics: StreamMetrics):
    metrics.of("m", None, "rest")
    assert [value("stream_terminated_total", reason=reason) for reason in REASONS] == [0] * len(
        REASONS
    )
    metrics.expect_refusals("grpc")
    refused = {"model_name": "", "protocol": "grpc", "reason": "rejected"}
    assert value("stream_terminated_total", **refused) == 0


def test_a_stream_without_a_response(metrics: StreamMetrics):
    metrics.stream("m", None, "rest", SimpleNamespace(count=0)).ended("client_disconnect")
    assert value("stream_first_response_seconds_count") == 0
    assert value("stream_duration_seconds_count") == 1
    assert value("stream_responses_total") == 0


@given(st.lists(st.sampled_from(SECONDS) | st.floats(0, 2000), max_size=30))
def test_intervals_handed_over_in_bulk_are_as_if_observed_one_by_one(intervals: list[float]):
    registry = CollectorRegistry()
    expected, bulk = (
        Histogram(name, "", buckets=SECONDS, registry=registry) for name in ("expected", "bulk")
    )
    anything = SimpleNamespace(inc=lambda n: None, observe=lambda n: None)
    given = module.Given(anything, Observed(bulk))
    figures = SimpleNamespace(given=given, active=anything, first_response=anything)
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(now=0.0)
        patch.setattr(module.time, "perf_counter", lambda: clock.now)
        stream = module.MeasuredStream(figures, SimpleNamespace(count=0))
        stream.responded()
        for interval in intervals:
            before = clock.now
            clock.now += interval
            stream.responded()
            expected.observe(clock.now - before)
            if interval in SECONDS:  # now and then, as the clock has it
                stream.hand_over()
        stream.hand_over()
        given.hand_over()

    def samples(histogram: Histogram) -> list[tuple[str, float]]:
        [metric] = histogram.collect()
        return [
            (sample.labels.get("le", sample.name.rpartition("_")[2]), pytest.approx(sample.value))
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]

    assert samples(bulk) == samples(expected)


def test_the_collectors_of_one_model_and_protocol_are_looked_up_once(metrics: StreamMetrics):
    found = metrics.of("m", None, "rest")
    assert metrics.of("m", "", "rest") is found
    assert metrics.of("m", "1", "rest") is not found
    found.received.inc(3)
    found.sent.inc(4)
    assert value("stream_bytes_total", direction="in") == 3
    assert value("stream_bytes_total", direction="out") == 4


def test_sequences_are_counted_until_they_are_forgotten(metrics: StreamMetrics):
    live: list[int] = []
    metrics.watch_sequences("m", None, live)
    of = {"model_name": "m", "model_version": ""}
    assert REGISTRY.get_sample_value("sequences_active", of) == 0
    live += [1, 2]
    assert REGISTRY.get_sample_value("sequences_active", of) == 2
    metrics.forget_sequences("m", None)
    assert REGISTRY.get_sample_value("sequences_active", of) is None


def test_buckets_suit_tokens_and_long_jobs():
    assert SECONDS[0] == 0.001
    assert SECONDS[-1] >= 600
    assert list(SECONDS) == sorted(set(SECONDS))


def test_every_reason_is_one_that_the_wire_knows():
    from mlserver_streaming.streams.streams import REASONS as MAPPED

    assert set(MAPPED.values()) | {"completed", "error", "client_disconnect"} == set(REASONS)
