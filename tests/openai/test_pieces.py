"""Responses, read in pieces."""

import json

import pytest

from mlserver_streaming.errors import UnsupportedError
from mlserver_streaming.openai.pieces import Piece, PieceReader, Usage, added
from tests.openai.models import numbers, response


def test_what_a_language_model_says():
    reader = PieceReader(None)
    said = {"logprobs": json.dumps([{"token": "a"}]), "tool_calls": json.dumps([{"index": 0}])}
    assert reader.read(response("a", choice=1, **said)) == Piece(
        1, "a", None, [{"token": "a"}], [{"index": 0}]
    )
    last = response("", choice=1, finish_reason="length", completion_tokens=2, prompt_tokens=1)
    assert reader.read(last) == Piece(1, "", "length")
    assert reader.rest() == []
    assert reader.usage == Usage(1, 2, 0)


def test_any_other_model_ends_by_itself():
    reader = PieceReader(None, first=3)
    assert reader.read(response("a", "b")) == Piece(3, "ab")
    assert reader.rest() == [Piece(3, "", "stop")]
    assert reader.usage is None


def test_a_model_without_a_word_has_one_empty_answer():
    assert PieceReader(None).rest() == [Piece(0, "", "stop")]


def test_a_character_may_be_cut_in_two_by_responses_of_several_choices():
    reader, euro = PieceReader(None), "€".encode()
    texts = {0: "", 1: ""}
    for part in (euro[:1], euro[1:]):
        for choice in (0, 1):
            piece = reader.read(response(part, choice=choice))
            texts[choice] += piece.text
    assert texts == {0: "€", 1: "€"}
    reader.read(response(euro[:1]))
    assert reader.rest()[0] == Piece(0, "�", "stop")


def test_the_output_may_be_named():
    reader = PieceReader("answer")
    assert reader.read(response("a", name="answer")).text == "a"
    with pytest.raises(UnsupportedError, match="output 'answer'"):
        reader.read(response("a", name="trace"))
    with pytest.raises(UnsupportedError, match="BYTES"):
        PieceReader(None).read(numbers())


def test_tokens_of_several_requests():
    assert added(None, None) is None
    assert added(None, Usage(1, 2, 3)) == Usage(1, 2, 3)
    assert added(Usage(1, 2, 3), Usage(1, 1, 1)) == Usage(2, 3, 4)
