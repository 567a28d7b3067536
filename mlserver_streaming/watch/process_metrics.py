"""The metrics of this process and of its workers, added up.

This process's own stay in memory, where counting costs a tenth of what it does in a file; the
workers' come from the files that they write (metrics_folder.py).
"""

from collections.abc import Iterator

from mlserver.metrics import REGISTRY as MODELS_REGISTRY
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


class ProcessMetrics(Collector):
    """Every metric of every process, each once."""

    def __init__(self, folder: str):
        self._workers = MultiProcessCollector(CollectorRegistry(), folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for source in (REGISTRY, MODELS_REGISTRY, self._workers):
            for metric in source.collect():
                if (known := found.get(metric.name)) is None:
                    found[metric.name] = metric
                else:
                    known.samples = added(known.samples, metric.samples)
        yield from found.values()


def added(samples: list[Sample], others: list[Sample]) -> list[Sample]:
    """Two processes' samples of one metric: the values of those with the same labels added."""
    found = {(sample.name, *sorted(sample.labels.items())): sample for sample in samples}
    for other in others:
        key = (other.name, *sorted(other.labels.items()))
        known = found.get(key)
        found[key] = other if known is None else known._replace(value=known.value + other.value)
    return list(found.values())
