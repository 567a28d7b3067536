"""CTC: what the labels of each frame say, greedily and by a beam."""

import numpy as np
import pytest

from mlserver_streaming.audio.ctc import CtcDecoder, read_labels

LABELS = ("a", "b", " ")
BLANK = 3


def log_probs(frames: str, sure: float = 0.97) -> np.ndarray:
    """Frames that say a, b, space (_) or blank (.)."""
    rows = np.full((len(frames), 4), (1 - sure) / 3)
    for index, said in enumerate(frames):
        rows[index, "ab_.".index(said)] = sure
    return np.log(rows).astype(np.float32)


def texts(decoder: CtcDecoder, frames: str) -> list[str]:
    return [word.text for word in decoder(log_probs(frames))]


@pytest.mark.parametrize("beam", [1, 8])
@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ("", []),
        ("....", []),
        ("aa.bb", ["ab"]),
        ("aaaa", ["a"]),
        ("aa.aa", ["aa"]),
        ("a_b", ["a", "b"]),
        ("__a.__.b__", ["a", "b"]),
    ],
)
def test_words(beam: int, frames: str, words: list[str]) -> None:
    assert texts(CtcDecoder(LABELS, BLANK, beam), frames) == words


@pytest.mark.parametrize("beam", [1, 8])
def test_times_and_confidence(beam: int) -> None:
    first, second = CtcDecoder(LABELS, BLANK, beam)(log_probs("..aa.b.__.a."))
    assert (first.text, first.start, first.end) == ("ab", 2, 6)
    assert (second.text, second.start) == ("a", 10)
    assert first.confidence == pytest.approx(0.97, abs=0.01)


def test_a_beam_adds_up_what_greedy_does_not_see() -> None:
    # In each frame blank is the likeliest, but of all ways together most say "a".
    rows = np.log(np.array([[0.4, 0.0001, 0.0001, 0.5998]] * 2, np.float32))
    assert CtcDecoder(LABELS, BLANK)(rows) == []
    assert [word.text for word in CtcDecoder(LABELS, BLANK, 8)(rows)] == ["a"]


def test_the_blank_may_be_anywhere() -> None:
    rows = log_probs("a.b")[:, [3, 0, 1, 2]]
    for beam in (1, 4):
        assert [word.text for word in CtcDecoder(LABELS, 0, beam)(rows)] == ["ab"]


def test_pieces_of_words() -> None:
    labels = ("\u2581the", "\u2581c", "at", "s")
    rows = np.log(np.eye(5, dtype=np.float32)[[0, 4, 1, 2, 4, 3]] * 0.9 + 0.02)
    for beam in (1, 4):
        found = [word.text for word in CtcDecoder(labels, 4, beam)(rows)]
        assert found == ["the", "cats"]


def test_labels_file() -> None:
    assert read_labels("a\nb\n \n'\n") == ("a", "b", " ", "'")
    assert read_labels("\na\r\nb") == (" ", "a", "b")


@pytest.mark.parametrize("wrong", [{"labels": ()}, {"blank": 9}, {"beam": 0}])
def test_settings_are_checked(wrong: dict) -> None:
    with pytest.raises(ValueError):
        CtcDecoder(**({"labels": LABELS, "blank": BLANK} | wrong))
