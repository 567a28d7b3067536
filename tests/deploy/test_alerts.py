"""The alerts fire when they should, and ask for what the service exports."""

from __future__ import annotations

import shutil
import subprocess

import promql_parser as promql
import pytest
import yaml

from tests.live.service import ROOT
from tests.live.test_dashboard import selectors

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
KEDA = yaml.safe_load(
    (ROOT / "deploy" / "kubernetes" / "overlays" / "keda" / "autoscaler.yaml").read_text()
)
QUERIES = [rule["expr"] for rule in RULES] + [
    trigger["metadata"]["query"] for trigger in KEDA["spec"]["triggers"]
]


def promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration() -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tried = {case["alertname"] for test in tests for case in test["alert_rule_test"]}
    assert tried == {rule["alert"] for rule in RULES}
    promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_that_are_documented(query: str) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    names = {selector.name.removesuffix("_bucket") for selector in selectors(promql.parse(query))}
    assert names
    assert [name for name in names - {"up"} if f"`{name}" not in page] == []
