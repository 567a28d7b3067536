"""What counts a stream's messages around its context."""

import weakref

import pytest

from mlserver_streaming.rpc.errors import Together
from mlserver_streaming.rpc.interceptors import _Writing, _WritingTogether


class Context:
    """Takes messages; `room` says whether at once."""

    def __init__(self, room=True):
        self.sent = []
        self.room = room

    async def write(self, message):
        self.sent.append(message)

    def peer(self):
        return "somebody"


class TogetherContext(Context):
    async def write_all(self, messages):
        self.sent += messages

    def write_at_once(self, messages, size):
        if self.room:
            self.sent += messages
        return self.room


async def test_messages_are_counted_however_they_are_written():
    context, counted = TogetherContext(), []
    writing = _WritingTogether(context, lambda: counted.append(1))
    await writing.write(b"a")
    await writing.write_all([b"b", b"c"])
    assert writing.write_at_once([b"d"], 1)
    context.room = False
    assert not writing.write_at_once([b"e"], 1)
    assert context.sent == [b"a", b"b", b"c", b"d"]
    assert len(counted) == 4
    assert writing.peer() == "somebody"


@pytest.mark.parametrize(
    ("kind", "context", "can"),
    [(_Writing, Context, False), (_WritingTogether, TogetherContext, True)],
)
def test_who_can_write_several_at_once_says_so(kind, context, can):
    writing = kind(context(), lambda: None)
    assert (Together.of(writing, lambda: None) is not None) is can


def test_a_call_is_not_left_to_the_collector_of_cycles():
    context = TogetherContext()
    gone = weakref.ref(context)
    writing = _WritingTogether(context, lambda: None)
    del context, writing
    assert gone() is None
