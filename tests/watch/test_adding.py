"""What is added past Prometheus's library is there as if it had been added through it."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from mlserver_streaming.watch.adding import Observed, value_of

BOUNDS = (0.5, 1.0, 2.0)


def samples(registry: CollectorRegistry, name: str) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name.removeprefix(name), sample.labels, sample.value)
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name.startswith(name) and not sample.name.endswith("_created")
    ]


@given(st.lists(st.sampled_from(BOUNDS) | st.floats(0, 3)))
def test_observed(values: list[float]):
    registry = CollectorRegistry()
    for kind, named in ((Histogram, {"buckets": BOUNDS}), (Summary, {})):
        both = [kind(n, "", ["a"], registry=registry, **named) for n in ("their", "our")]
        theirs, observed = both[0].labels("b"), Observed(both[1].labels("b"))
        for value in values:
            theirs.observe(value)
            observed.observe(value)
        assert samples(registry, "our") == samples(registry, "their")
        for each in both:
            registry.unregister(each)


def test_values():
    registry = CollectorRegistry()
    value_of(Counter("c", "", ["a"], registry=registry).labels("b")).inc(2)
    gauge = value_of(Gauge("g", "", registry=registry))
    gauge.inc(3)
    gauge.inc(-1)
    assert registry.get_sample_value("c_total", {"a": "b"}) == 2
    assert registry.get_sample_value("g") == 2
