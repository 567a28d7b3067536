"""The OpenAPI document says what the service does."""

from types import SimpleNamespace

import pytest
from schemathesis import openapi as schemathesis

from mlserver_streaming.rest import openapi
from mlserver_streaming.rest.management import ManagementEndpoints
from mlserver_streaming.rest.shared_memory import SharedMemoryEndpoints

CALLS = ["infer", "generate", "infer_stream", "generate_stream"]


def operation(call, document=None, path="/v2/models/{model_name}/"):
    return (document or openapi.document())["paths"][path + call]["post"]


@pytest.mark.parametrize("call", CALLS)
def test_every_call_has_its_errors(call):
    responses = operation(call)["responses"]
    assert set(responses) > {"200", "400", "404", "413", "415", "422", "429", "500", "501", "503"}
    for status in set(responses) - {"200"}:
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/InferenceErrorResponse"}


@pytest.mark.parametrize("call", CALLS)
def test_what_each_call_answers(call):
    kinds = set(operation(call)["responses"]["200"]["content"])
    if call.endswith("_stream"):
        assert kinds == {"text/event-stream", "application/x-ndjson"}
    else:
        assert kinds == {"application/json", "application/octet-stream"}


@pytest.mark.parametrize("call", CALLS)
def test_the_flat_body_is_for_generate_only(call):
    schema = operation(call)["requestBody"]["content"]["application/json"]["schema"]
    assert ("GenerateRequest" in str(schema)) == call.startswith("generate")
    assert "InferenceRequest" in str(schema)


def test_the_document_of_a_model_has_its_name_filled_in():
    document = openapi.model_document("text-model", "v1")
    path = "/v2/models/text-model/versions/v1/"
    assert operation("generate_stream", document, path) == operation(
        "generate_stream", path="/v2/models/{model_name}/versions/{model_version}/"
    )
    assert not any("{" in path for path in document["paths"])


def test_operation_ids_are_unique():
    ids = [operation(call)["operationId"] for call in CALLS]
    ids += [
        operation(call, path="/v2/models/{model_name}/versions/{model_version}/")["operationId"]
        for call in CALLS
    ]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere_and_the_document_is_valid():
    assert "/components/enums/" not in str(openapi.document())
    loaded = schemathesis.from_dict(openapi.document())
    loaded.validate()
    assert {result.ok().method for result in loaded.get_all_operations()} == {
        "get",
        "post",
        "delete",
    }


def test_without_keys_nothing_is_said_of_them():
    assert "security" not in str(openapi.document())
    assert not {"401", "403"} & set(operation("infer")["responses"])


@pytest.mark.parametrize(
    "document",
    [
        openapi.document(keyed=True),
        openapi.model_document("text-model", keyed=True),
        openapi.complete({"openapi": "3.1.0", "paths": {}}, keyed=True),
    ],
    ids=["service", "model", "fastapi's"],
)
def test_with_keys_it_says_what_opens_which_call(document):
    assert document["components"]["securitySchemes"] == {
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of this service, or a token of its issuer.",
        },
    }
    assert document["security"] == [{"key": []}, {"bearer": []}]
    for path, item in document["paths"].items():
        for method in item.keys() & {"get", "post"}:
            is_open = path in ("/v2/health/live", "/v2/health/ready")
            assert item[method].get("security") == ([] if is_open else None)
            assert ({"401", "403"} <= set(item[method]["responses"])) != is_open
    if "info" in document:
        schemathesis.from_dict(document).validate()


def test_fastapis_document_keeps_what_only_it_knows():
    custom = {"openapi": "3.1.0", "paths": {"/custom": {"get": {}}}}
    whole = openapi.complete(custom)
    assert {"/custom", "/v2/models/{model_name}/infer_stream"} <= set(whole["paths"])
    assert "GenerateRequest" in whole["components"]["schemas"]


def test_the_calls_of_tritons_extensions_are_described():
    served = ManagementEndpoints(SimpleNamespace(management=None)).routes()
    served += SharedMemoryEndpoints(None).routes()
    described = openapi.document()["paths"]
    never = "/v2/cudasharedmemory/region/{region_name}/register"
    for route in served:
        path = route.path_format
        if path != never:
            assert {method.upper() for method in described[path]} >= route.methods - {"HEAD"}, path
