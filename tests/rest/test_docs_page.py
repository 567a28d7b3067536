"""The page to read: whole, safe, and of this service alone."""

import re

import pytest

from mlserver_streaming.rest import openapi
from mlserver_streaming.rest.docs_page import page

DOCUMENTS = [openapi.document(), openapi.document(True), openapi.model_document("text-model", "v1")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=["service", "keyed", "model"])
def test_all_calls_and_schemas_are_on_it_and_nothing_is_loaded(document):
    html = page(document, "docs/dataplane.json")
    for path, item in document["paths"].items():
        for method in item.keys() & {"get", "post"}:
            assert f"<b>{method.upper()}</b> {path}</h2>" in html
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in html
    assert not re.search(r"<(script|link|img|iframe)|src=|url\(|@import", html)
    links = set(re.findall(r'href="([^"]*)"', html))
    assert links - {"docs/dataplane.json"} <= {
        f"#{name}" for name in document["components"]["schemas"]
    }


def test_what_stands_in_a_document_stays_text():
    bad = '<script>alert("x")</script>'
    html = page(
        {
            "info": {"title": bad, "version": bad, "description": bad},
            "paths": {
                f"/{bad}": {"get": {"summary": bad, "responses": {bad: {"description": bad}}}}
            },
            "components": {"schemas": {bad: {"title": bad}}},
        },
        bad,
    )
    assert "<script" not in html
