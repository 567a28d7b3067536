"""The gauge `sequences_active`: how many sequences live, counted when somebody looks."""

from collections.abc import Iterator, Sized

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class LiveSequences(Collector):
    """Not a Gauge with a function: with worker processes those are not exported."""

    def __init__(self) -> None:
        self._watched: dict[tuple[str, str], Sized] = {}

    def watch(self, model: str, version: str, sequences: Sized) -> None:
        self._watched[model, version] = sequences

    def forget(self, model: str, version: str) -> None:
        self._watched.pop((model, version), None)

    def collect(self) -> Iterator[Metric]:
        found = GaugeMetricFamily(
            "sequences_active", "Live sequences.", labels=("model_name", "model_version")
        )
        for labels, sequences in list(self._watched.items()):
            found.add_metric(labels, len(sequences))
        yield found
