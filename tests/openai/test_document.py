"""The routes in the OpenAPI document."""

import pytest
from schemathesis import openapi as schemathesis

from mlserver_streaming.openai.document import with_routes
from mlserver_streaming.rest import openapi

PATHS = {
    "/models": "get",
    "/models/{model_name}": "get",
    "/chat/completions": "post",
    "/completions": "post",
    "/responses": "post",
    "/responses/{response_id}": "get",
    "/responses/{response_id}/cancel": "post",
    "/responses/{response_id}/input_items": "get",
    "/audio/transcriptions": "post",
    "/embeddings": "post",
}


@pytest.mark.parametrize("keyed", [False, True])
def test_every_route_is_there_under_its_prefix_and_the_document_is_valid(keyed):
    document = with_routes(openapi.document(keyed), "/openai/v1", keyed)
    for path, method in PATHS.items():
        responses = document["paths"][f"/openai/v1{path}"][method]["responses"]
        assert {"200", "404", "429", "501"} <= set(responses)
        assert ({"401", "403"} <= set(responses)) == keyed
    assert "/v2/models/{model_name}/infer" in document["paths"]
    schemathesis.from_dict(document | {"info": {"title": "x", "version": "1"}}).validate()


def test_the_document_that_it_is_added_to_stays_as_it_is():
    before = openapi.document()
    with_routes(before, "/v1", False)
    assert "/v1/models" not in before["paths"]
