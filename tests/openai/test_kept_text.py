"""Chat, completions and responses outlive their connections: each event comes once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.access.callers import ANYBODY, Caller, set_current
from mlserver_streaming.errors import MLServerError
from tests.openai.asgi import Asked, data, id_of, serving, split
from tests.streams.planes import answer, asked, failure

TEXT = "one two three"
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
WORDS: dict[str, Any] = {
    CHAT: {
        "messages": [{"role": "user", "content": TEXT}],
        "stream_options": {"include_usage": True},
    },
    COMPLETIONS: {"prompt": TEXT},
    RESPONSES: {"input": TEXT},
}
CLOSED: list[str] = []


class Says(MLModel):
    """What it is told, word by word; `wait` waits, `fail` and `raise` do so."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            words = asked(request).split()
            try:
                for word in words:
                    if word == "wait":
                        await asyncio.Event().wait()
                    if word == "raise":
                        raise MLServerError("No more words.", 503)
                    if word == "fail":
                        yield failure("That is too much.", 400)
                        return
                    yield answer(f"{word} ")
                yield answer("", finish_reason="stop", prompt_tokens=1, completion_tokens=3)
            finally:
                CLOSED.append(words[-1])


def body(route: str, text: str = TEXT, **more: Any) -> dict[str, Any]:
    found = {"model": "m", "stream": True, **WORDS[route], **more}
    if route == CHAT:
        found["messages"] = [{"role": "user", "content": text}]
    else:
        found["prompt" if route == COMPLETIONS else "input"] = text
    return found


async def begun(app: Asked, text: str = TEXT, **more: Any) -> dict[str, Any]:
    """A response in the background."""
    made = await app("POST", RESPONSES, body(RESPONSES, text, background=True, stream=False))
    assert made.status_code == 200, made.text
    return made.json() | more


async def ended(app: Asked, response: str) -> dict[str, Any]:
    """A response, once it has ended."""
    await (await app.runs.find(response.removeprefix("resp_"))).until(float("inf"), 20)
    return (await app("GET", f"{RESPONSES}/{response}")).json()


# -- read on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [CHAT, COMPLETIONS, RESPONSES])
async def test_a_connection_cut_after_each_event_loses_and_repeats_none(tmp_path: Path, route: str):
    async with serving(tmp_path, Says) as app:
        plain = await app("POST", route, body(route))
        asking = body(route, resumable=True)
        whole = await app("POST", route, asking)
        events = split(whole.text)
        stream = whole.headers["x-stream-id"]
        assert [id_of(event) for event in events] == [
            f"{stream}.{n}" for n in range(1, len(events) + 1)
        ]
        # But for the ids they are the events of any other stream.
        assert "id: " not in plain.text
        assert len(split(plain.text)) == len(events)
        for after in range(len(events)):
            place = {"last_event_id": f"{stream}.{after}"}
            by_address = await app("GET", f"/v2/streams/{stream}", **place)
            again = await app("POST", route, asking, **place)
            assert split(by_address.text) == split(again.text) == events[after:]
        over = await app("POST", route, asking, last_event_id=id_of(events[-1]))
        assert (over.status_code, over.content) == (204, b"")
        # From one connection to the next, an event at a time.
        found = await app.cut("POST", route, 1, asking)
        while len(found) < len(events):
            found += await app.cut("POST", route, 1, asking, last_event_id=id_of(found[-1]))
        stream = id_of(found[0]).partition(".")[0]
        assert [id_of(event) for event in found] == [
            f"{stream}.{n}" for n in range(1, len(events) + 1)
        ]


async def test_two_read_what_is_said_while_it_is_said(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        made = await app("POST", CHAT, body(CHAT, resumable=True), prefer="respond-async")
        assert made.status_code == 202
        at = made.headers["location"]
        both = await asyncio.gather(app("GET", at), app("GET", at))
        assert both[0].text == both[1].text
        assert split(both[0].text)[-1].endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(("extra", "resume"), [({"resumable": True}, {}), (None, {"always": True})])
async def test_the_model_or_the_service_may_want_it(
    tmp_path: Path, extra: dict[str, Any] | None, resume: dict[str, Any]
):
    async with serving(tmp_path, Says, extra, **resume) as app:
        assert "x-stream-id" in (await app("POST", CHAT, body(CHAT))).headers
        assert "x-stream-id" not in (await app("POST", CHAT, body(CHAT, resumable=False))).headers
        # Several prompts are several streams, so nobody comes back to them.
        several = await app("POST", COMPLETIONS, body(COMPLETIONS) | {"prompt": ["a", "b"]})
        assert several.status_code == 200
        assert "x-stream-id" not in several.headers
        wanted = body(COMPLETIONS, resumable=True) | {"prompt": ["a", "b"]}
        refused = await app("POST", COMPLETIONS, wanted)
        assert refused.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    ("place", "status", "said"),
    [
        ("{}.99", 400, "Event 99 of this stream is not there yet: the last is 7"),
        ("{}.-1", 400, "is no place in a stream"),
        ("nonsense", 400, "is no place in a stream"),
        ("other.1", 404, "You have no stream"),
    ],
)
async def test_a_place_that_there_is_not(tmp_path: Path, place: str, status: int, said: str):
    async with serving(tmp_path, Says) as app:
        asking = body(CHAT, resumable=True)
        stream = (await app("POST", CHAT, asking)).headers["x-stream-id"]
        found = await app("POST", CHAT, asking, last_event_id=place.format(stream))
        assert found.status_code == status
        assert said in found.json()["error"]["message"]
        other = await app("POST", COMPLETIONS, asking, last_event_id=f"{stream}.1")
        assert other.status_code == 400
        assert "did not begin at this route" in other.json()["error"]["message"]


async def test_a_failure_comes_after_what_was_said_for_each_who_reads(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        for text in ("one raise", "one fail"):
            whole = await app("POST", CHAT, body(CHAT, text, resumable=True))
            *events, last = split(whole.text)
            assert last.startswith("event: error\n")
            place = {"last_event_id": id_of(events[0])}
            at = f"/v2/streams/{whole.headers['x-stream-id']}"
            assert split((await app("GET", at, **place)).text) == [*events[1:], last]
        # As without all this, one that fails before it says anything is a status.
        for text, status in (("raise", 503), ("fail", 400)):
            refused = await app("POST", CHAT, body(CHAT, text, resumable=True))
            assert refused.status_code == status


async def test_whose_beginning_is_dropped_cannot_be_read_again(tmp_path: Path):
    async with serving(tmp_path, Says, bytes=64 * 1024) as app:
        whole = await app("POST", CHAT, body(CHAT, f"{'w' * 1000} " * 300, resumable=True))
        events = split(whole.text)
        assert len(events) == 304  # the role, the words, why, the tokens, the end
        at = f"/v2/streams/{whole.headers['x-stream-id']}"
        gone = await app("GET", at, last_event_id=id_of(events[-2]))
        assert gone.status_code == 410
        assert "no longer kept" in gone.json()["error"]


# -- responses in the background -----------------------------------------------------------------


async def test_a_response_in_the_background_is_looked_at_and_read(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        made = await begun(app)
        assert made["id"].startswith("resp_")
        assert (made["object"], made["background"]) == ("response", True)
        assert made["status"] in ("queued", "in_progress", "completed")
        found = await ended(app, made["id"])
        assert found["status"] == "completed"
        assert found["output"][0]["content"][0]["text"] == "one two three "
        assert found["usage"]["output_tokens"] == 3
        at = f"{RESPONSES}/{made['id']}"
        events = split((await app("GET", f"{at}?stream=true")).text)
        said = [data(event) for event in events]
        assert [each["sequence_number"] for each in said] == list(range(len(events)))
        assert [each["type"] for each in said][:3] == [
            "response.created",
            "response.queued",
            "response.in_progress",
        ]
        assert said[-1]["response"] == found
        for number in range(len(events)):
            rest = await app("GET", f"{at}?stream=true&starting_after={number}")
            assert (rest.status_code, split(rest.text)) == (200, events[number + 1 :])
        odd = await app("PUT", at)
        assert odd.status_code == 405
        assert {*odd.headers["allow"].split(", ")} == {"DELETE", "GET", "HEAD"}
        # Sent as a stream from the start it is the same one.
        streamed = await app("POST", RESPONSES, body(RESPONSES, background=True))
        assert [data(event)["type"] for event in split(streamed.text)] == [
            each["type"] for each in said
        ]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=true&starting_after=12", "starting_after"),
        ("stream=true&starting_after=-1", "starting_after"),
        ("stream=true&starting_after=x", "starting_after"),
        (f"stream=true&starting_after={'9' * 400}", "starting_after"),
        ("starting_after=1", "stream"),
        ("stream=maybe", "stream"),
    ],
)
async def test_a_sequence_number_that_there_is_not(tmp_path: Path, query: str, param: str):
    async with serving(tmp_path, Says) as app:
        made = await ended(app, (await begun(app))["id"])
        refused = await app("GET", f"{RESPONSES}/{made['id']}?{query}")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


async def test_a_cancelled_response_ends_its_model_and_is_kept(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        made = await begun(app, "one wait first")
        at = f"{RESPONSES}/{made['id']}"
        assert len(await app.cut("GET", f"{at}?stream=true", 6)) == 6
        stands = (await app("GET", at)).json()
        assert (stands["status"], stands["output"][0]["status"]) == ("in_progress",) * 2
        reading = asyncio.create_task(app("GET", f"{at}?stream=true&starting_after=5"))
        run = await app.runs.find(made["id"].removeprefix("resp_"))
        while not run.readers:  # noqa: ASYNC110
            await asyncio.sleep(0)
        first, second = [await app("POST", f"{at}/cancel") for _ in range(2)]
        assert CLOSED[-1] == "first"
        assert first.json() == second.json() == (await app("GET", at)).json()
        assert first.json()["status"] == "cancelled"
        assert first.json()["output"][0]["content"][0]["text"] == "one "
        told = await reading
        assert "cancelled by its caller" in told.text
        deleted = await app("DELETE", at)
        assert deleted.json() == {"id": made["id"], "object": "response", "deleted": True}
        for method, path in (("GET", at), ("DELETE", at), ("POST", f"{at}/cancel")):
            gone = await app(method, path)
            assert gone.status_code == 404
            assert "You have no response" in gone.json()["error"]["message"]


async def test_it_can_be_ended_by_the_address_of_its_stream(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        made = await begun(app, "one wait second")
        run = await app.runs.find(made["id"].removeprefix("resp_"))
        await run.until(1, 20)
        assert (await app("DELETE", f"/v2/streams/{run.head.id}")).status_code == 204
        await run.until(float("inf"), 20)
        assert CLOSED[-1] == "second"
        assert (await app("GET", f"{RESPONSES}/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("text", "code", "said", "output"),
    [
        ("raise", "server_error", "No more words.", 0),
        ("one raise", "server_error", "No more words.", 1),
        ("one fail", "invalid_prompt", "That is too much.", 1),
        ("fail", "invalid_prompt", "That is too much.", 0),
    ],
)
async def test_what_fails_in_the_background_says_so_to_who_asks(
    tmp_path: Path, text: str, code: str, said: str, output: int
):
    async with serving(tmp_path, Says) as app:
        streamed = split(
            (await app("POST", RESPONSES, body(RESPONSES, text, background=True))).text
        )
        last = data(streamed[-1])
        found = await ended(app, last["response"]["id"])
        assert last["type"] == "response.failed"
        assert last["response"] == found
        assert (found["status"], len(found["output"])) == ("failed", output)
        assert found["error"] == {"code": code, "message": said}
        at = f"{RESPONSES}/{found['id']}?stream=true"
        assert split((await app("GET", at)).text) == streamed
        over = await app("GET", f"{at}&starting_after={last['sequence_number']}")
        assert (over.status_code, over.text) == (200, "")


async def test_a_response_that_is_not_in_the_background_is_kept_where_it_is_resumable(
    tmp_path: Path,
):
    async with serving(tmp_path, Says) as app:
        plain = data(split((await app("POST", RESPONSES, body(RESPONSES))).text)[-1])
        assert (await app("GET", f"{RESPONSES}/{plain['response']['id']}")).status_code == 404
        kept = await app("POST", RESPONSES, body(RESPONSES, resumable=True))
        last = data(split(kept.text)[-1])["response"]
        assert (await app("GET", f"{RESPONSES}/{last['id']}")).json() == last
        refused = await app("POST", f"{RESPONSES}/{last['id']}/cancel")
        assert refused.status_code == 400
        assert "'background'" in refused.json()["error"]["message"]


async def test_another_callers_response_and_another_kind_of_stream_are_not_there(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        set_current(Caller("one", ANYBODY.roles))
        made = await begun(app, "one wait third")
        chat = (await app("POST", CHAT, body(CHAT, resumable=True))).headers["x-stream-id"]
        assert (await app("GET", f"{RESPONSES}/resp_{chat}")).status_code == 404
        assert (await app("GET", f"{RESPONSES}/{made['id'][5:]}")).status_code == 404
        set_current(Caller("two", ANYBODY.roles))
        for method, end in (
            ("GET", ""),
            ("GET", "?stream=true"),
            ("DELETE", ""),
            ("POST", "/cancel"),
        ):
            gone = await app(method, f"{RESPONSES}/{made['id']}{end}")
            assert gone.status_code == 404
            assert set(gone.json()["error"]) == {"message", "type", "param", "code"}
        set_current(Caller("one", ANYBODY.roles))
        assert (await app("GET", f"{RESPONSES}/{made['id']}")).status_code == 200


async def test_it_is_ended_where_nobody_asks_and_thrown_away_later(tmp_path: Path):
    async with serving(tmp_path, Says, seconds_without_reader=0.2, seconds_kept=0.2) as app:
        made = await begun(app, "one wait fourth")
        run = await app.runs.find(made["id"].removeprefix("resp_"))
        await run.until(float("inf"), 20)
        found = (await app("GET", f"{RESPONSES}/{made['id']}")).json()
        assert (found["status"], found["error"]["code"]) == ("failed", "invalid_prompt")
        assert "Nobody read this stream" in found["error"]["message"]
        while not run.is_forgotten:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (await app("GET", f"{RESPONSES}/{made['id']}")).status_code == 404


async def test_it_holds_a_slot_and_who_reads_it_none(tmp_path: Path):
    async with serving(tmp_path, Says, limits={"streams": 1, "waiting": 0}) as app:
        made = await begun(app, "one wait fifth")
        at = f"{RESPONSES}/{made['id']}"
        assert len(await app.cut("GET", f"{at}?stream=true", 6)) == 6
        assert (await app("GET", at)).json()["status"] == "in_progress"
        refused = await app("POST", RESPONSES, body(RESPONSES, background=True))
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
        await app("POST", f"{at}/cancel")
        assert (await app("POST", RESPONSES, body(RESPONSES))).status_code == 200


async def test_its_time_is_bounded_and_so_is_how_many_there_are(tmp_path: Path):
    async with serving(tmp_path, Says, streams=1) as app:
        made = await app(
            "POST", RESPONSES, body(RESPONSES, "one wait", background=True, timeout=200_000)
        )
        last = data(split(made.text)[-1])
        assert last["type"] == "response.failed"
        assert "longest it may last" in last["response"]["error"]["message"]
        held = await begun(app, "one wait")
        assert (await app("GET", f"{RESPONSES}/{last['response']['id']}")).status_code == 404
        refused = await app("POST", RESPONSES, body(RESPONSES, background=True))
        assert refused.status_code == 429
        assert "cancel one" in refused.json()["error"]["message"]
        await app("DELETE", f"{RESPONSES}/{held['id']}")


async def test_a_drain_lets_it_go_on_for_a_while_and_says_why_it_ended(tmp_path: Path):
    async with serving(tmp_path, Says) as app:
        made = await begun(app, "one wait sixth")
        run = await app.runs.find(made["id"].removeprefix("resp_"))
        await run.until(1, 20)
        reading = asyncio.create_task(app("GET", f"{RESPONSES}/{made['id']}?stream=true"))
        while not run.readers:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await app.plane.calls.drain(0)
        last = data(split((await reading).text)[-1])
        assert "The service is stopping" in str(last)
        assert CLOSED[-1] == "sixth"
