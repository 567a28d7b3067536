"""What a running service tells Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.live.service import Service


def scrape(service: Service, **request: dict[str, str]) -> list[Sample]:
    """Every sample that the metrics port has now."""
    scheme = "https" if service.tls else "http"
    url = f"{scheme}://127.0.0.1:{service.metrics}/metrics"
    page = httpx.get(url, verify=service.tls or True, timeout=20, **request)
    page.raise_for_status()
    return [
        sample
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


def matching(samples: list[Sample], name: str, **labels: str) -> Iterator[Sample]:
    for sample in samples:
        if sample.name == name and labels.items() <= sample.labels.items():
            yield sample


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of a metric over all that has these labels; 0 where there is nothing."""
    return sum(sample.value for sample in matching(samples, name, **labels))


def figure(service: Service, name: str, **labels: str) -> float:
    """The same, as it is now."""
    return total(scrape(service), name, **labels)
