"""Segments of a recording in OpenAI's five forms. Pure.

https://platform.openai.com/docs/api-reference/audio
"""

from collections.abc import Sequence

import orjson

from .answers import Body, data
from .hearing import SEGMENT, WORD, HearingAsk, Segment

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
MEDIA_TYPES = {"srt": "application/x-subrip; charset=utf-8", "vtt": "text/vtt; charset=utf-8"}


def written(
    ask: HearingAsk, segments: Sequence[Segment], language: str | None
) -> tuple[bytes, str]:
    """All segments in the form that is asked for, and its media type.

    Args:
        language: what the model says it heard.
    """
    whole = joined(segments)
    if ask.format == "text":
        return f"{whole}\n".encode(), TEXT
    if ask.format == "srt":
        cues = [f"{n}\n{_span(each, ',')}\n{each.text}\n\n" for n, each in enumerate(segments, 1)]
        return "".join(cues).encode(), MEDIA_TYPES["srt"]
    if ask.format == "vtt":
        cues = [f"{_span(each, '.')}\n{each.text}\n\n" for each in segments]
        return "".join(["WEBVTT\n\n", *cues]).encode(), MEDIA_TYPES["vtt"]
    body: Body = {"text": whole}
    if ask.format == "verbose_json":
        ends = [each.end for each in segments if each.end is not None]
        body = {
            "task": "transcribe",
            # What was asked for where the model does not say; empty where neither does.
            "language": language or ask.parameters.get("language") or "",
            # As far as there was voice: no model is asked how long the recording is.
            "duration": max(ends, default=0.0),
            **body,
        }
        if SEGMENT in ask.times:
            body["segments"] = [_segment(n, each) for n, each in enumerate(segments)]
        if WORD in ask.times:
            body["words"] = [word for each in segments for word in each.words]
    return orjson.dumps(body), JSON


def delta(segment: Segment, is_first: bool) -> bytes:
    """The event of a segment; all deltas joined are the whole text."""
    text = segment.text if is_first else f" {segment.text}"
    return data({"type": "transcript.text.delta", "delta": text}, "transcript.text.delta")


def done(segments: Sequence[Segment]) -> bytes:
    """The event after the last segment."""
    body = {"type": "transcript.text.done", "text": joined(segments)}
    return data(body, "transcript.text.done")


def joined(segments: Sequence[Segment]) -> str:
    return " ".join(each.text for each in segments)


def _segment(number: int, segment: Segment) -> Body:
    return {
        "id": number,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        # Not OpenAI's: 0 to 1.
        "confidence": segment.confidence,
        # What only Whisper has.
        "seek": None,
        "tokens": [],
        "temperature": None,
        "avg_logprob": None,
        "compression_ratio": None,
        "no_speech_prob": None,
    }


def _span(segment: Segment, point: str) -> str:
    return f"{_clock(segment.start or 0, point)} --> {_clock(segment.end or 0, point)}"


def _clock(seconds: float, point: str) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{point}{milliseconds:03}"
