"""The Grafana dashboard: each of its queries asks for what a live service really exports."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import promql_parser as promql
import pytest

from mlserver_streaming.watch.metrics import LABELS
from tests.live.conftest import make_folder
from tests.live.figures import scrape
from tests.live.grpc_calls import infer, stream, text_request, triton_stream
from tests.live.keyed import add_key
from tests.live.rest_calls import path, prompt
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "streaming.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
# Prometheus sets these two at each scrape.
OURS = ("stream_", "sequences_", "auth_", "cache_", "resume_")
OF_THE_SCRAPE = {"instance", "job"}
Exported = dict[str, set[str]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Every metric of a service that every protocol has used, and the names of its labels."""
    # Nobody is there: its metrics are.
    store = {"url": "redis://127.0.0.1:1", "secret": "dashboards read no secret"}
    folder = make_folder(
        tmp_path_factory.mktemp("dashboard"),
        streaming={"auth": {"keys_file": "keys.json"}, "resume": {"store": store}},
    )
    cached = {"MLSERVER_MODEL_CACHE_ENABLED": "true"}
    key = {"x-api-key": add_key(folder / "keys.json", "dashboard", "--role", "infer")}
    with WarmService(folder, folder / "server.log", **cached) as service:
        url = f"{service.url}{path('text-model', 'generate_stream')}"
        assert httpx.post(url, json=prompt("a b"), headers=key).is_success
        assert httpx.post(url, json=prompt("a b")).status_code == 401
        _use_grpc(service, tuple(key.items()))
        found: Exported = {}
        for sample in scrape(service):
            found.setdefault(sample.name, set()).update(sample.labels)
        return found


def _use_grpc(service: Service, metadata: Any) -> None:
    async def use() -> None:
        request = text_request("a b", sequence_id=1, sequence_start=True)
        await infer(service.grpc_address, request, metadata=metadata)
        await stream(service.grpc_address, [text_request("a b")], metadata=metadata)
        await triton_stream(service.triton_address, [text_request("a b")], metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError):
            await infer(service.grpc_address, request)

    asyncio.run(use())


def parsed(query: str) -> Any:
    return promql.parse(query.replace("$__rate_interval", "1m"))


def selectors(node: Any) -> Iterator[Any]:
    """The selectors of metrics in a query."""
    if isinstance(node, promql.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql.VectorSelector):
        yield node
    else:
        for child in children(node):
            yield from selectors(child)


def children(node: Any) -> list[Any]:
    if isinstance(node, promql.Call):
        return list(node.args)
    if isinstance(node, promql.BinaryExpr):
        return [node.lhs, node.rhs]
    return [node.expr] if isinstance(node, promql.AggregateExpr | promql.ParenExpr) else []


def grouped(node: Any) -> Iterator[str]:
    """The labels that a query groups by."""
    if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
        yield from node.modifier.labels
    for child in children(node):
        yield from grouped(child)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_there_are(exported: Exported, query: str):
    tree = parsed(query)
    found = list(selectors(tree))
    assert found
    for selector in found:
        assert selector.name in exported, f"nothing exports {selector.name}"
        labels = {matcher.name for matcher in selector.matchers.matchers} | set(grouped(tree))
        assert labels <= exported[selector.name]


@pytest.mark.parametrize("query", QUERIES)
def test_counters_are_asked_for_their_rate_and_gauges_are_not(query: str):
    counting = r"\w+_(?:total|sum|count|bucket)"
    for name in (selector.name for selector in selectors(parsed(query))):
        rated = re.search(rf"rate\({name}\b", query) is not None
        assert rated is (re.fullmatch(counting, name) is not None)


def test_every_metric_of_streams_has_a_panel(exported: Exported):
    shown = {selector.name for query in QUERIES for selector in selectors(parsed(query))}
    ours = {name for name in exported if name.startswith(OURS)}
    # Histograms are shown by their buckets.
    ours = {name for name in ours if not name.endswith(("_count", "_sum"))}
    assert len(ours) == 32
    assert ours - shown == set()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_legend_names_labels_that_the_query_keeps(panel: dict[str, Any]):
    for target in panel["targets"]:
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert named - set(grouped(parsed(target["expr"]))) <= OF_THE_SCRAPE
        assert named


@pytest.mark.parametrize("name", ["model", "protocol"])
def test_a_variable_lists_the_values_of_a_label(exported: Exported, name: str):
    query = VARIABLES[name]["definition"]
    asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
    assert asked is not None
    assert asked[2] in LABELS and asked[2] in exported[asked[1]]
    assert VARIABLES[name]["query"]["query"] == query
    # What is refused at once has no model's name, and is one of "All".
    assert VARIABLES[name]["allValue"] == ".*"


def test_the_source_of_the_data_is_a_variable():
    assert VARIABLES["datasource"]["type"] == "datasource"
    of = [panel["datasource"] for panel in PANELS]
    of += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert {json.dumps(each) for each in of} == {'{"type": "prometheus", "uid": "${datasource}"}'}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}
    assert used == set(VARIABLES)


def test_panels_have_a_place_of_their_own():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not covered & cells
        assert max(x for x, _ in covered) < 24
        cells |= covered
    assert DASHBOARD["schemaVersion"] >= 36 and DASHBOARD["uid"] and DASHBOARD["title"]
