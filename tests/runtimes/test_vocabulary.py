"""Tokens into words: a tokenizer's file, and the text that its tokens make."""

import math

import pytest

from runtimes.speech.vocabulary import Token, Vocabulary

PIECES: list[str | bytes] = [
    *("<unk>", "<s>", "</s>"),
    *("▁He", "▁was", "n't", "▁caf", b"\xc3", b"\xa9", ".", "▁▁", "▁\N{HIRAGANA LETTER A}"),
    *("<<ST_7>>", "x" * 300, "▁one▁two"),
]


def written(pieces: list[str | bytes]) -> bytes:
    """A tokenizer's file."""
    file = b""
    for piece in pieces:
        data = piece.encode() if isinstance(piece, str) else piece
        size = len(data)
        file += bytes([size]) if size < 128 else bytes([128 + size % 128, size // 128])
        file += data
    return file


VOCABULARY = Vocabulary(written(PIECES))


def words(*ids: int) -> list[str]:
    return [word.text for word in VOCABULARY.words([Token(id, -0.1) for id in ids])]


def test_lengths_of_one_byte_and_of_two() -> None:
    assert len(VOCABULARY) == len(PIECES)
    assert words(13) == ["x" * 300]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ((), []),
        ((3, 4, 5, 9), ["He", "wasn't."]),
        ((6, 7, 8), ["café"]),
        ((6, 7), ["caf\N{REPLACEMENT CHARACTER}"]),  # a partial may end in a character
        ((11,), ["\N{HIRAGANA LETTER A}"]),
        ((1, 3, 12, 2, 0), ["He"]),
        ((10, 3, 10, 10, 4), ["He", "was"]),
        ((14, 5), ["one", "twon't"]),
    ],
)
def test_words(ids: tuple[int, ...], said: list[str]) -> None:
    assert words(*ids) == said


def test_a_word_is_as_sure_as_its_tokens_and_has_no_times() -> None:
    tokens = [Token(3, math.log(0.9)), Token(4, math.log(0.8)), Token(5, math.log(0.2))]
    he, was_not = VOCABULARY.words(tokens)
    assert he.confidence == pytest.approx(0.9)
    assert was_not.confidence == pytest.approx(0.4)
    assert (was_not.start, was_not.end) == (None, None)


@pytest.mark.parametrize("file", [b"\x05abc", b"\x01a\x80", b"\x85"])
def test_a_file_that_breaks_off(file: bytes) -> None:
    with pytest.raises(ValueError, match="breaks off"):
        Vocabulary(file)
