"""Moonshine's greedy walk, on a decoder that says what it is told and checks what it is given."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtimes.speech.moonshine import FEWEST_SAMPLES, TOKENS_A_SECOND, Moonshine
from runtimes.speech.vocabulary import END, START

WORDS = 16
SECOND = np.zeros(16_000, np.float32)


class Encoder:
    def run(self, outputs: Any, feed: dict[str, Any]) -> list[Any]:
        samples, mask = feed["input_values"], feed["attention_mask"]
        assert samples.shape == mask.shape
        return [np.zeros((1, samples.shape[1] // 384, 288), np.float32)]


class Decoder:
    """Says the script; what it keeps of each token is the token itself.

    Attributes:
        steps: how many tokens went into each run.
    """

    def __init__(self, script: Sequence[int]):
        self._script = [*script, *[END] * 99]
        self.steps: list[int] = []

    def get_inputs(self) -> list[Any]:
        names = ["input_ids", "past_key_values.0.decoder.key", "past_key_values.0.encoder.key"]
        return [SimpleNamespace(name=name, shape=["B", 8, "t", 36]) for name in names]

    def get_outputs(self) -> list[Any]:
        names = ["logits", "present.0.decoder.key", "present.0.encoder.key"]
        return [SimpleNamespace(name=name) for name in names]

    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]:
        frames, samples = (
            feed["encoder_hidden_states"].shape[1],
            feed["encoder_attention_mask"].shape[1],
        )
        assert frames == samples // 384
        (ids,), (cached,) = feed["input_ids"], feed["use_cache_branch"]
        kept = feed["past_key_values.0.decoder.key"]
        assert bool(cached) == bool(self.steps)
        sound = feed["past_key_values.0.encoder.key"]
        assert sound.shape[2] == (frames if cached else 0)
        before = [int(token) for token in kept[0, 0, :, 0]]
        heard = [*before, *map(int, ids)]
        # Tokens that were guessed wrongly may not be among those that it kept.
        assert heard[0] == START
        assert not cached or heard[1:] == self._script[: len(heard) - 1]
        self.steps.append(len(ids))
        logits = np.zeros((1, len(ids), WORDS), np.float32)
        for place in range(len(ids)):
            logits[0, place, self._script[len(before) + place]] = 5
        grown = np.zeros((1, 8, len(heard), 36), np.float32)
        grown[0, :, :, :] = np.array(heard)[None, :, None]
        made = {
            "logits": logits,
            "present.0.decoder.key": grown,
            "present.0.encoder.key": np.zeros((1, 8, frames, 36), np.float32),
        }
        return [made[name] for name in outputs]


def hear(
    script: Sequence[int], sound: Any = SECOND, guess: Sequence[int] = ()
) -> tuple[list[int], list[int]]:
    """The tokens, and the sizes of the decoder's steps."""
    decoder = Decoder(script)
    found = Moonshine(Encoder(), decoder).hear(sound, guess)
    return [token.id for token in found], decoder.steps


def test_one_token_after_the_other_until_the_end() -> None:
    assert hear([5, 6, 7]) == ([5, 6, 7], [1, 1, 1, 1])
    assert hear([]) == ([], [1])


@pytest.mark.parametrize(
    ("guess", "steps"),
    [
        ([5, 6, 7], [4]),
        ([5, 6], [3, 1]),
        ([5, 9, 7], [4, 1, 1]),
        ([9], [2, 1, 1, 1]),
        ([5, 6, 7, 8, 9], [6]),  # more was guessed than is said now
    ],
)
def test_a_guess_changes_what_it_costs_and_not_what_is_heard(
    guess: list[int], steps: list[int]
) -> None:
    assert hear([5, 6, 7], guess=guess) == ([5, 6, 7], steps)


def test_the_chance_of_a_token() -> None:
    (token,) = Moonshine(Encoder(), Decoder([5])).hear(SECOND)
    assert np.exp(token.chance) == pytest.approx(np.exp(5) / (np.exp(5) + WORDS - 1))


def test_what_never_ends_is_cut_by_its_length() -> None:
    endless = [7] * 500
    assert len(hear(endless, np.zeros(160_000, np.float32))[0]) == 10 * TOKENS_A_SECOND
    assert len(hear(endless, SECOND[:8000])[0]) == 4


def test_a_sound_that_is_too_short_is_nothing() -> None:
    assert hear([5], SECOND[: FEWEST_SAMPLES - 1]) == ([], [])
    assert hear([5], SECOND[:FEWEST_SAMPLES])[0] == [5]
