"""Events that have ids: what is written around a text is what would be written with it."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import pytest
from mlserver.types import InferenceResponse, Parameters

from mlserver_streaming.models.messages import output, response
from mlserver_streaming.recordings.texts import Texts
from mlserver_streaming.rest.events import JSON, Answers
from mlserver_streaming.rest.generate import FlatAnswers
from mlserver_streaming.rest.resumable_events import MARK, ResumableEvents, around
from mlserver_streaming.resume.head import Head
from mlserver_streaming.resume.run import Run
from mlserver_streaming.settings import ResumeSettings

FLAT: list[Answers] = [
    FlatAnswers(with_id, one) for with_id in (True, False) for one in (True, False)
]
WORDS = ["one", '"', ",", "a\nb", "\u2028\u00e9\U0001f600", "\x00", "%b {}", "", MARK[:5], MARK]


class Shared:
    """As all runs share it, without a bound."""

    def count(self, bytes: int) -> None: ...

    def has_room(self) -> bool:
        return True

    def has_ended(self, run: Any) -> None: ...

    def wait(self, room: Any) -> None: ...

    def forget(self, run: Run) -> None: ...

    def delete(self, run: Run) -> None: ...


def said(word: str | bytes, id: str = "r", **parameters: Any) -> InferenceResponse:
    own = Parameters(**parameters) if parameters else None
    return response("m", "v1", id, [output("y", "BYTES", [1], [word], "str")], own)


async def events(run: Run, answers: Answers, after: int = 0) -> list[bytes]:
    """All that a reader is sent."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    how: dict[str, Any] = {"grace": 10, "keepalive": 10, "answers": answers}
    await ResumableEvents(run.join(after), "s", **how).run({"type": "http"}, receive, send)
    return b"".join(sent).split(b"\n\n")[:-1]


def run_of(*responses: InferenceResponse) -> Run:
    head = Head("s", "", "m", None, "v1", "rest", 0.0, 60.0, {})
    run = Run(head, ResumeSettings(), Shared())
    for each in responses:
        run.say(each, 8)
    run.ended = True
    return run


@pytest.mark.parametrize("answers", [JSON, *FLAT], ids=["whole", *map(str, FLAT)])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_text_is_written_as_any_response_is(answers: Answers, after: int):
    whole = [said(word) for word in WORDS]
    whole += [said(word.encode()) for word in WORDS]
    whole += [said("late", cache="live"), said("a\u00e9" * 5000), said("other", "r2"), said("end")]
    wanted = [
        b"id: s.%d\ndata: %b" % (number, answers.encode(each) or b"")
        for number, each in enumerate(whole, 1)
    ]
    assert await events(run_of(*whole), answers, after) == wanted[after:]


def test_what_cannot_be_told_from_the_text_is_not_told():
    def texts(word: str, id: str) -> Texts:
        found = Texts.like_it(said(word, id))
        assert found is not None
        return found

    assert around(JSON.encode, texts("a", "r"), sys.maxsize) is not None
    assert around(JSON.encode, texts("a", MARK), sys.maxsize) is None
    assert around(JSON.encode, texts("a", "r"), 1000) is None  # it may be larger than that
    assert around(lambda response: None, texts("a", "r"), sys.maxsize) is None


async def test_a_text_that_json_does_not_hold_ends_the_stream_behind_what_was_said():
    run = run_of(said("one"), said("two"), said("\ud800"), said("three"))
    *before, last = await events(run, JSON)
    assert [re.findall(rb"s\.\d", each) for each in before] == [[b"s.1"], [b"s.2"]]
    assert last.startswith(b"event: error")
