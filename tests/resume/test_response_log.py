"""What a stream said, by number, as bytes and as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from mlserver_streaming.models.messages import output, response
from mlserver_streaming.recordings.recording import decode
from mlserver_streaming.resume.response_log import TEXTS_BYTES, TOGETHER, ResponseLog, recorded


def said(number: int, **parameters: Any) -> InferenceResponse:
    outputs = [output("y", "BYTES", [1], [f"word{number}"], "str")]
    own = Parameters(**parameters) if parameters else None
    return response("m", None, f"r{number % 2}", outputs, own)


def log_of(count: int) -> ResponseLog:
    log = ResponseLog()
    for number in range(1, count + 1):
        log.add(said(number), 6)
    return log


def rest(log: ResponseLog, after: int) -> list[tuple[str | None, Any]]:
    """All that comes after a response, however it lies together."""
    found = []
    while some := log.after(after):
        after += len(some)
        found += [(each.id, each.outputs[0].data.root[0]) for each in some]
    return found


def array_of(number: int) -> InferenceResponse:
    array = np.array([number], np.int64)
    return response("m", None, f"r{number % 2}", [output("y", "INT64", [1], array)])


# More texts than lie together, whose ids take turns.
MANY = TEXTS_BYTES // 64 + 7


@pytest.mark.parametrize("count", [0, 1, 100, MANY])
def test_texts_are_read_on_from_any_response(count: int):
    log = log_of(count)
    whole = [(f"r{n % 2}", f"word{n}") for n in range(1, count + 1)]
    for _ in range(2):
        assert (log.first, log.last) == (1, count)
        for after in range(count + 1):
            assert rest(log, after) == whole[after:]
        log.fold()


@pytest.mark.parametrize("is_text", [lambda n: False, lambda n: n % 2, lambda n: n % 60 < 30])
def test_so_are_others_and_texts_among_them(is_text: Callable[[int], bool]):
    count = 3 * TOGETHER + 7
    log = ResponseLog()
    for n in range(1, count + 1):
        log.add(said(n) if is_text(n) else array_of(n), 8)
    whole = [(f"r{n % 2}", f"word{n}" if is_text(n) else n) for n in range(1, count + 1)]
    for _ in range(2):
        for after in range(count + 1):
            assert rest(log, after) == whole[after:]
        log.fold()


def test_what_is_to_be_stored_is_all_that_was_said_in_order():
    log = log_of(MANY)
    for is_all in (False, True):
        for after in (0, 1, 200, MANY - 1):
            count, chunks = log.chunks_after(after, is_all)
            found = [record.outputs[0].data.root for chunk in chunks for record in decode(chunk)]
            assert found == [[f"word{n}"] for n in range(after + 1, after + count + 1)]
        log.fold()


def test_two_hundred_words_take_few_bytes():
    log = log_of(200)
    log.fold()
    assert log.size < 16 * 1024


def test_the_oldest_are_dropped_up_to_what_was_heard():
    log = ResponseLog()
    for n in range(1, 3 * TOGETHER + 1):
        log.add(array_of(n), 8)
    before = log.size
    assert not log.drop(TOGETHER - 1)  # not half of what lies together
    assert log.drop(TOGETHER)
    assert log.first == TOGETHER + 1
    assert log.size < before
    assert rest(log, TOGETHER)[0][1] == TOGETHER + 1
    while log.drop(3 * TOGETHER):
        pass
    assert (log.first, log.last, log.size) == (3 * TOGETHER + 1, 3 * TOGETHER, 0)


def test_a_log_may_go_on_where_another_ended():
    log = ResponseLog(said=40)
    assert (log.first, log.last) == (41, 40)
    log.add(said(41), 6)
    assert [word for _, word in rest(log, 40)] == ["word41"]


def test_what_has_no_form_in_bytes_is_kept_as_it_is():
    log = ResponseLog()
    odd = said(1, score=float("nan"))
    log.add(odd, 6)
    log.fold()
    [found] = log.after(0)
    assert found.parameters is not None
    assert np.isnan(found.parameters.model_extra["score"])  # type: ignore[index]


def test_arrays_and_parameters_come_back():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = ResponseOutput.model_construct(
        name="y", datatype="FP32", shape=[2, 3], data=TensorData.model_construct(root=array)
    )
    log = ResponseLog()
    log.add(response("m", "v1", "r", [tensor], Parameters(headers={"Ce-Id": "r"}, score=1)), 24)
    log.fold()
    [found] = log.after(0)
    assert np.array_equal(found.outputs[0].data.root, array)
    assert found.parameters == Parameters(headers={"Ce-Id": "r"}, score=1)
    record = recorded(found)
    assert (record.id, record.model_version) == ("r", "v1")


@pytest.mark.parametrize(
    "words", [["a", "b"], [b"a", "\u00e9".encode()], [b"a", b"\xff"], ["a", b"b"]]
)
def test_texts_come_back_as_they_were(words: list[str | bytes]):
    log = ResponseLog()
    for index, word in enumerate(words):
        own = Parameters(index=index) if index else None
        log.add(response("m", None, "r", [output("y", "BYTES", [1], [word], "str")], own), 1)
    log.fold()
    found = [*log.after(0)]
    while len(found) < log.last:
        found += log.after(len(found))
    assert [each.outputs[0].data.root for each in found] == [[word] for word in words]
    assert [each.parameters for each in found] == [None, Parameters(index=1)]
