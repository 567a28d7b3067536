"""What a container platform and Prometheus ask."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.service import Service


@pytest.mark.parametrize("probe", ["live", "ready"])
def test_http_probes(service: Service, probe: str):
    assert httpx.get(f"{service.url}/v2/health/{probe}").status_code == 200


def test_prometheus_reads_the_metrics(service: Service):
    # Asked once first: a counter with labels shows from its first count on.
    body = {
        "inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["a"]}],
        "parameters": {"delay": 0},
    }
    httpx.post(f"{service.url}/v2/models/text-model/infer", json=body).raise_for_status()
    page = httpx.get(f"http://127.0.0.1:{service.metrics}/metrics")
    families = {family.name: family for family in text_string_to_metric_families(page.text)}
    counted = families["model_infer_request_success"].samples
    assert any(sample.labels["model"] == "text-model" and sample.value for sample in counted)
    assert "grpc_server_started" in families
