"""Three replicas for all trials: `make scale-test`, which gives them a network of their own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.scale.asks import Asks
from tests.scale.cluster import Cluster, make_bridge, memcached, missing

# Minutes, and namespaces: not of `make test`.
if "SCALE_TEST" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def network() -> Iterator[None]:
    """Where clusters are, and a memcached for all."""
    if reason := missing():
        pytest.skip(reason)
    make_bridge()
    with memcached():
        yield


@pytest.fixture(scope="session")
def three(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), 3) as running:
        yield running


@pytest.fixture
def cluster(three: Cluster) -> Iterator[Cluster]:
    """All three run when a test begins."""
    three.whole()
    yield three


@pytest.fixture
async def asks(cluster: Cluster) -> AsyncIterator[Asks]:
    async with Asks(cluster) as clients:
        yield clients
