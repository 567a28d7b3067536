"""Moonshine (https://github.com/moonshine-ai/moonshine): sound into tokens, one after the other.

The encoder takes samples [1, n] of 16 kHz and gives [1, T, d]. The decoder takes tokens [1, k] and
what it kept of those before, and gives what it thinks of the next one, logits [1, k, V]. Both take
a mask of the *samples*; one of the encoder's length is taken too, and fails beyond 384.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .vocabulary import END, START, Token

RATE = 16_000
# Below this its convolutions have nothing to work on.
FEWEST_SAMPLES = 895
# Nobody says more; what goes on has lost its way and says the same again and again.
TOKENS_A_SECOND = 6.5
DECODER, ENCODER = "decoder_model_merged.ort", "encoder_model.ort"


def make_session(file: Path) -> Any:
    """What runs one of the two files. Others have the GIL while it is made.

    Raises:
        ValueError: it cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    # One core an utterance, as many utterances as there are cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this
        raise ValueError(f"Moonshine's files cannot be loaded: {error}") from error


class Moonshine:
    """One recogniser, for any number of threads."""

    def __init__(self, encoder: Any, decoder: Any):
        """
        Args:
            encoder, decoder: onnxruntime sessions.
        """
        self._encoder, self._decoder = encoder, decoder
        outputs = [output.name for output in decoder.get_outputs()]
        # What the decoder keeps of the sound is there after its first step; later ones give only
        # what they keep of the tokens.
        self._first = outputs
        self._later = [name for name in outputs if ".encoder." not in name]
        self._nothing = {
            tensor.name: np.zeros((1, tensor.shape[1], 0, tensor.shape[3]), np.float32)
            for tensor in decoder.get_inputs()
            if tensor.name.startswith("past_key_values.")
        }

    def hear(self, samples: NDArray[np.float32], guess: Sequence[int] = ()) -> list[Token]:
        """What is said in [n] samples, -1 to 1.

        Args:
            guess: tokens that it may begin with. Those that are right cost one step together; one
                of a thousand choices may fall otherwise then, since the weights are whole numbers
                whose scale depends on what goes through them together.
        """
        if len(samples) < FEWEST_SAMPLES:
            return []
        mask = np.ones((1, len(samples)), np.int64)
        sound = {"input_values": samples[None], "attention_mask": mask}
        feed = self._nothing | {
            "input_ids": np.array([[START, *guess]], np.int64),
            "encoder_hidden_states": self._encoder.run(None, sound)[0],
            "encoder_attention_mask": mask,
            "use_cache_branch": np.array([False]),
        }
        found = self._step(self._first, feed)
        logits = found.pop("logits")[0]
        tokens: list[Token] = []
        for row, guessed in zip(logits, guess, strict=False):
            if (best := _best(row)).id != guessed:
                break
            tokens.append(best)
        right = len(tokens) + 1
        for name, kept in found.items():
            feed[name] = kept if ".encoder." in name else kept[:, :, :right]
        feed["use_cache_branch"] = np.array([True])
        row = logits[right - 1]
        most = most_tokens(len(samples))
        while len(tokens) < most and (best := _best(row)).id != END:
            tokens.append(best)
            feed["input_ids"] = np.array([[best.id]], np.int64)
            found = self._step(self._later, feed)
            row = found.pop("logits")[0, -1]
            feed |= found
        return tokens

    def _step(self, outputs: list[str], feed: dict[str, Any]) -> dict[str, Any]:
        """The logits, and what was kept under the names by which it goes into the next step."""
        found = zip(outputs, self._decoder.run(outputs, feed), strict=True)
        return {name.replace("present.", "past_key_values."): value for name, value in found}


def most_tokens(samples: int) -> int:
    """How many tokens so many samples may have."""
    return math.ceil(TOKENS_A_SECOND * samples / RATE)


def _best(logits: NDArray[np.float32]) -> Token:
    """The likeliest of [V] tokens."""
    best = int(logits.argmax())
    return Token(best, -math.log(float(np.exp(logits - logits[best]).sum())))
