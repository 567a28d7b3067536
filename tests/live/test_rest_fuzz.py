"""Requests made up from the OpenAPI document: every answer is one that it promises.

No 500, no hang, and every error is `{"error": "<text>"}`.
"""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from tests.live.rest_calls import path, prompt
from tests.live.service import Service
from tests.live.watch import PATIENCE

# For each of 16 combinations; more finds the same, only later.
EXAMPLES = 8


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("call", ["infer", "infer_stream", "generate", "generate_stream"])
@pytest.mark.parametrize("model", ["text-model", "jpeg-model"])
def test_every_answer_is_a_documented_one(
    service: Service, model: str, call: str, mode: GenerationMode
) -> None:
    document = httpx.get(f"{service.url}{path(model, 'docs/dataplane.json')}").json()
    operation = schemathesis.openapi.from_dict(document)[path(model, call)]["POST"]
    documented = document["paths"][path(model, call)]["post"]["responses"]

    # The plugin of schemathesis would drive pytest itself, and not every pytest.
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("parameters", {}), dict):
            case.body.setdefault("parameters", {})["delay"] = 0  # no test of patience
        answer = case.call(base_url=service.url, timeout=PATIENCE)
        assert answer.status_code != 500, answer.text
        assert str(answer.status_code) in documented
        if answer.status_code == 200:
            kind = answer.headers["content-type"][0].partition(";")[0]
            assert kind in documented["200"]["content"]
        else:
            body = answer.json()
            assert list(body) == ["error"]
            assert isinstance(body["error"], str)

    ask()
    again = httpx.post(service.url + path("text-model", "infer"), json=prompt())
    assert again.status_code == 200
