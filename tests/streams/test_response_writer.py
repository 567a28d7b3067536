"""What a stream's writer does with its first responses."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mlserver.types import InferenceResponse

from mlserver_streaming.streams.response_writer import ResponseWriter
from mlserver_streaming.watch import statistics
from mlserver_streaming.watch.statistics import Served
from tests.streams.planes import answer


class Wire:
    """Responses are their own messages."""

    def encode(self, response: InferenceResponse, form: Any, model: Any) -> InferenceResponse:
        return response


class Outbox:
    """Tells how it was asked to write."""

    def __init__(self, is_full: bool = False) -> None:
        self.is_full = is_full
        self.asked: list[str] = []
        self._has_begun = False

    def put(self, message: Any) -> bool:
        begun, self._has_begun = self._has_begun, True
        return not begun

    async def flush(self) -> None:
        self.asked.append("flush")

    def pause(self) -> Any:
        self.asked.append("pause")
        return self.flush() if self.is_full else None


async def gathered(served: Served | None, texts: str, is_full: bool = False) -> list[str]:
    """How the outbox of a stream of these responses was asked to write."""
    wire: Any = Wire()
    box: Any = Outbox(is_full)

    async def responses() -> AsyncIterator[InferenceResponse]:
        for text in texts:
            yield answer(text, id="1")

    await ResponseWriter(wire, False, None).gather(responses(), box, False, None, None, served)
    asked: list[str] = box.asked
    assert asked.pop() == "flush", "at its end"
    return asked


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(statistics, "BRIEF_SECONDS", 3600.0)
    return Served(None, None, None)


@pytest.mark.parametrize("texts", ["a", "ab", "abc"])
async def test_the_first_waits_for_no_other(texts: str):
    assert await gathered(None, texts) == ["flush"]


async def test_where_the_last_stream_was_brief_the_first_takes_no_turn(served: Served):
    assert await gathered(served, "a") == ["flush"]
    assert served.is_brief
    assert await gathered(served, "a") == ["pause"]
    assert await gathered(served, "a", is_full=True) == ["pause", "flush"], "unless it must wait"


async def test_then_the_turn_comes_with_the_second(served: Served):
    served.is_brief = True
    assert await gathered(served, "abc") == ["pause", "flush"]
    assert not served.is_brief
    assert await gathered(served, "abc") == ["flush"]


async def test_a_stream_of_none_is_not_brief(served: Served):
    served.is_brief = True
    assert await gathered(served, "") == []
    assert not served.is_brief
