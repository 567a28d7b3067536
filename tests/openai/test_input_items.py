"""What a response was asked with, as OpenAI's client reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from mlserver_streaming.openai.input_items import KEPT_BYTES, input_items, page
from tests.openai.asgi import Asked, serving
from tests.openai.test_kept_text import RESPONSES, Says, body

CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
GIVEN: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "input_text", "text": "Hello."}], "id": "mine"},
    {"role": "assistant", "content": "Hi."},
    CALL,
    {"type": "function_call_output", "call_id": "c", "output": "3"},
]


def test_items_are_those_of_openai():
    found = input_items(GIVEN, "resp_x")
    read = [TypeAdapter(ResponseItem).validate_python(each) for each in found]
    assert [each.type for each in read] == ["message"] * 3 + [each["type"] for each in GIVEN[3:]]
    assert [each["id"] for each in found] == ["in_x_0", "mine", "in_x_2", "in_x_3", "in_x_4"]
    assert [each.content[0].text for each in read[:3]] == ["Be brief.", "Hello.", "Hi."]
    assert [each["role"] for each in input_items("Hello.", "resp_x")] == ["user"]


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_go_on_behind_their_last(newest_first: bool):
    items = input_items(GIVEN, "resp_x")
    found: list[Any] = []
    after = None
    while True:
        got = page(items, after, 2, newest_first)
        assert got is not None
        found += got["data"]
        after = got["last_id"]
        if not got["has_more"]:
            break
    assert found == (items[::-1] if newest_first else items)
    assert page(items, "else", 2, newest_first) is None


async def begun(app: Asked, given: Any) -> str:
    asked = {**body(RESPONSES, background=True, stream=False), "input": given}
    made = await app("POST", RESPONSES, asked)
    return f"{RESPONSES}/{made.json()['id']}/input_items"


async def test_what_was_asked_is_there_as_long_as_the_response_is(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        at = await begun(app, "one wait")
        found = (await app("GET", at)).json()
        assert found["data"][0]["content"] == [{"type": "input_text", "text": "one wait"}]
        assert (found["first_id"], found["has_more"]) == (found["data"][0]["id"], False)
        for wrong in ("limit=0", "limit=x", "limit=101", "order=up", "after=else"):
            refused = await app("GET", f"{at}?{wrong}")
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == wrong.partition("=")[0]
        await app("DELETE", at.removesuffix("/input_items"))
        assert (await app("GET", at)).status_code == 404


async def test_a_large_one_is_not_kept_and_what_is_kept_counts(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        at = await begun(app, "x" * KEPT_BYTES)
        refused = await app("GET", at)
        assert (refused.status_code, "not kept" in refused.text) == (400, True)
        before = app.runs.bytes
        at = await begun(app, "x " * 20_000)
        await app("GET", at.removesuffix("/input_items") + "?stream=true")
        assert app.runs.bytes - before > 2 * 40_000
