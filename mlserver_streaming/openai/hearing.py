"""What a form asks of a recording, and what a model heard in it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
from mlserver.types import InferenceResponse, TensorData
from starlette.datastructures import FormData

from ..errors import BadRequestError, shown
from ..tensors.raw import flat
from .errors import FieldError
from .pieces import PieceReader

WORDS = "words"
SEGMENT, WORD = "segment", "word"
FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
TIMED = ("srt", "vtt")
GRANULARITIES = "timestamp_granularities[]"
# Of the form's fields, what a model is told; those of other engines too.
TOLD = ("language", "prompt")


@dataclass(frozen=True, slots=True)
class HearingAsk:
    """A request for a recording's words.

    Attributes:
        format: of FORMATS.
        times: of what the times are wanted: segments, words, both.
    """

    model: str
    format: str
    times: frozenset[str]
    streams: bool
    parameters: dict[str, Any]


def read_hearing(form: FormData) -> HearingAsk:
    """https://platform.openai.com/docs/api-reference/audio/createTranscription"""
    model = _text(form, "model")
    if not model:
        raise FieldError("'model' must be a model's name, and is missing.", "model")
    written = _text(form, "response_format") or "json"
    if written not in FORMATS:
        _refuse("response_format", f"one of {', '.join(FORMATS)}", written)
    streams = _flag(form, "stream")
    if streams and written not in ("json", "text"):
        _refuse("response_format", "json or text where 'stream' is true", written)
    times = [each for each in form.getlist(GRANULARITIES) if isinstance(each, str)]
    for each in times:
        if each not in (SEGMENT, WORD):
            _refuse(GRANULARITIES, f"{SEGMENT} or {WORD}", each)
    if times and written != "verbose_json":
        raise FieldError(
            f"'{GRANULARITIES}' needs 'response_format' to be verbose_json.", GRANULARITIES
        )
    # No partial transcripts: what was sent cannot be taken back.
    parameters: dict[str, Any] = {"partial": False}
    parameters |= {name: said for name in TOLD if (said := _text(form, name))}
    if (temperature := _text(form, "temperature")) is not None:
        parameters["temperature"] = _number("temperature", temperature, 0, 1)
    return HearingAsk(model, written, frozenset(times or (SEGMENT,)), streams, parameters)


@dataclass(frozen=True, slots=True)
class Segment:
    """What was heard between two pauses, and what the model knows of it.

    Attributes:
        start, end: seconds; None where the model does not say.
    """

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    words: tuple[dict[str, Any], ...] = ()


class SegmentReader:
    """Reads the responses to one recording.

    Attributes:
        language: what the model says it is; None where it says nothing.
    """

    def __init__(self, ask: HearingAsk, output: str | None):
        self.language: str | None = None
        self._ask = ask
        self._pieces = PieceReader(output)

    def read(self, response: InferenceResponse) -> Segment | None:
        """What a response adds; None for nothing, or for what may still change.

        Raises:
            BadRequestError: times are wanted that the model does not give.
        """
        said = (response.parameters and response.parameters.model_extra) or {}
        text = self._pieces.read(response).text
        self.language = said.get("language") or self.language
        if not text or said.get("final") is False:
            return None
        segment = Segment(
            text,
            _seconds(said.get("start")),
            _seconds(said.get("end")),
            _seconds(said.get("confidence")),
            tuple(_words(response)) if WORD in self._ask.times else (),
        )
        timeless = segment.start is None or segment.end is None
        if self._ask.format in TIMED and timeless:
            raise BadRequestError(
                f"Model '{response.model_name}' gives no times, which {self._ask.format} needs; "
                "ask for json or text."
            )
        if WORD in self._ask.times and not segment.words:
            raise FieldError(
                f"Model '{response.model_name}' gives no times of words; leave {WORD} out of "
                f"'{GRANULARITIES}'.",
                GRANULARITIES,
            )
        return segment


def _words(response: InferenceResponse) -> list[dict[str, Any]]:
    """The words that have times; in the model's output `words`, JSON text."""
    for output in response.outputs:
        if output.name == WORDS:
            data = output.data.root if isinstance(output.data, TensorData) else output.data
            found = [word for text in flat(data) for word in orjson.loads(text)]
            return [
                {"word": word["word"], "start": word["start"], "end": word["end"]}
                for word in found
                if word.get("start") is not None and word.get("end") is not None
            ]
    return []


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if value is not None and not isinstance(value, str):
        raise FieldError(f"'{name}' must be text, not a file.", name)
    return value


def _flag(form: FormData, name: str) -> bool:
    value = (_text(form, name) or "false").lower()
    if value not in ("true", "false"):
        _refuse(name, "true or false", value)
    return value == "true"


def _number(name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        _refuse(name, f"a number from {low:g} to {high:g}", text)
    return value


def _refuse(name: str, must: str, value: str) -> NoReturn:
    raise FieldError(f"'{name}' must be {must}, not '{shown(value)}'.", name)
