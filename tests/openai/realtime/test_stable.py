"""Deltas of a transcript that still changes."""

import pytest

from mlserver_streaming.openai.realtime.stable import StableText


def said(partials, final):
    text = StableText()
    return [*map(text.partial, partials), text.final(final)]


@pytest.mark.parametrize(
    ("partials", "final", "deltas"),
    [
        ([], "", [""]),
        ([], "It was.", ["It was."]),
        # What two agree on, but for the last word, which may go on.
        (["It", "It was", "It was the"], "It was the end.", ["", "It", " was", " the end."]),
        (["It was", "It was"], "It was.", ["", "It", " was."]),
        (["It was the bust", "It was the best of"], "It was", ["", "It was the", ""]),
        # Stops and capitals change all the time.
        (
            [
                "The best of.",
                "The best of time.",
                "The best of times, it",
                "the best of times. It is",
            ],
            "The best of times, it is so.",
            ["", "The best of", "", " times. It", " is so."],
        ),
        # A word that was said and is none any more: nothing is taken back, nothing added.
        (["Ice cream now", "Ice cream now it"], "I scream now.", ["", "Ice cream now", ""]),
        # One word in all, in a language without spaces: it comes at the end.
        (["你好", "你好世"], "你好世界", ["", "", "你好世界"]),
    ],
)
def test_deltas(partials, final, deltas):
    assert said(partials, final) == deltas


def test_what_agrees_again_goes_on():
    assert said(["a b c", "a b c d", "x y z", "a b c d e", "a b c d e f"], "a b c d e f g") == [
        *("", "a b c", "", "", " d e", " f g")
    ]
