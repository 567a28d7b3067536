"""The sound in a client's events: base64 of samples in one of four formats. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...audio.g711 import RATE as TELEPHONE_RATE
from ...audio.g711 import from_a_law, from_mu_law
from ...audio.samples import Pcm
from ...tensors.steps import READ_BYTES, Steps
from ..errors import FieldError

# Of one request to a model, in seconds: what is said in a large event's beginning does not wait for
# its end, and models bound what one request holds.
REQUEST_SECONDS = 4
# A multiple of the four characters that are three bytes.
STEP_CHARACTERS = READ_BYTES


def _from_pcm(data: bytes) -> Pcm:
    return np.frombuffer(data, "<i2")


@dataclass(frozen=True, slots=True)
class Format:
    """How samples are written.

    Attributes:
        object: as sessions have it now.
        name: as they had it before.
        width: bytes of a sample.
    """

    object: tuple[tuple[str, Any], ...]
    name: str
    rate: int
    width: int
    decode: Callable[[bytes], Pcm]


PCM = "audio/pcm"
PCM_24 = Format((("type", PCM), ("rate", 24_000)), "pcm16", 24_000, 2, _from_pcm)
# Not OpenAI's: what vLLM takes, and no other.
PCM_16 = Format((("type", PCM), ("rate", 16_000)), "pcm16", 16_000, 2, _from_pcm)
MU_LAW = Format((("type", "audio/pcmu"),), "g711_ulaw", TELEPHONE_RATE, 1, from_mu_law)
A_LAW = Format((("type", "audio/pcma"),), "g711_alaw", TELEPHONE_RATE, 1, from_a_law)
FORMATS = (PCM_24, PCM_16, MU_LAW, A_LAW)


def decoded(text: str) -> Steps[bytes]:
    """The bytes behind base64 text, in steps.

    Raises:
        FieldError: it is none.
    """
    parts = []
    try:
        for at in range(0, len(text), STEP_CHARACTERS):
            if at:
                yield
            part = text[at : at + STEP_CHARACTERS]
            if part.endswith("=") and at + len(part) < len(text):
                raise ValueError("Padding amid it")
            parts.append(binascii.a2b_base64(part, strict_mode=True))
    except ValueError as error:  # binascii.Error is one; so is text that is not ASCII
        why = str(error)[:1].lower() + str(error)[1:]
        raise FieldError(f"'audio' must be base64 (RFC 4648): {why}.", "audio") from error
    return b"".join(parts)


class Reader:
    """Bytes as they come, to samples; one that is cut in two by the border of two events is whole
    again."""

    def __init__(self, format: Format):
        self._format = format
        self._loose = b""

    def read(self, data: bytes) -> Iterator[Pcm]:
        """[n] int16 samples each, as much as a request holds."""
        data = self._loose + data if self._loose else data
        whole = len(data) - len(data) % self._format.width
        self._loose = data[whole:]
        samples = self._format.decode(data[:whole])
        size = REQUEST_SECONDS * self._format.rate
        for at in range(0, len(samples), size):
            yield samples[at : at + size]
