"""Metrics that can be registered once only."""

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from mlserver_streaming.cache.figures import CacheFigures


@pytest.fixture
def figures() -> Iterator[CacheFigures]:
    before = set(REGISTRY._collector_to_names)
    yield CacheFigures()
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)
