"""What was heard, read and written."""

import json

import pytest
from starlette.datastructures import FormData

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.openai.hearing import HearingAsk, Segment, SegmentReader, read_hearing
from mlserver_streaming.openai.transcripts import delta, done, written
from tests.openai.models import response

SEGMENTS = [Segment("one two", 0.5, 1.25, 0.9), Segment("three", 3661.0, 3662.0004)]
WORDS = [{"word": "one", "start": 0.5, "end": 0.75, "confidence": 0.5}]


def ask(form="json", *times):
    return HearingAsk("m", form, frozenset(times or ("segment",)), False, {})


def text(form, segments=SEGMENTS):
    return written(ask(form), segments, None)[0].decode()


def test_the_forms():
    assert json.loads(text("json")) == {"text": "one two three"}
    assert text("text") == "one two three\n"
    assert text("srt") == (
        "1\n00:00:00,500 --> 00:00:01,250\none two\n\n2\n01:01:01,000 --> 01:01:02,000\nthree\n\n"
    )
    assert text("vtt") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\none two\n\n"
        "01:01:01.000 --> 01:01:02.000\nthree\n\n"
    )


def test_the_verbose_form_says_what_the_model_said_and_no_more():
    found = json.loads(text("verbose_json"))
    assert (found["language"], found["duration"]) == ("", 3662.0004)
    first = found["segments"][0]
    assert (first["id"], first["start"], first["end"], first["text"]) == (0, 0.5, 1.25, "one two")
    assert (first["confidence"], first["avg_logprob"], first["no_speech_prob"]) == (0.9, None, None)
    assert "words" not in found


def test_silence():
    assert json.loads(text("json", [])) == {"text": ""}
    assert json.loads(text("verbose_json", []))["segments"] == []
    assert text("vtt", []) == "WEBVTT\n\n"


def test_events_join_to_the_text():
    events = [delta(each, index == 0) for index, each in enumerate(SEGMENTS)] + [done(SEGMENTS)]
    bodies = [json.loads(event.decode().partition("data: ")[2]) for event in events]
    assert "".join(body.get("delta", "") for body in bodies) == bodies[-1]["text"]


def test_partial_transcripts_are_left_out():
    reader = SegmentReader(ask(), None)
    assert reader.read(response("on", final=False)) is None
    assert reader.read(response("")) is None
    assert reader.read(response("one", final=True, start=0.5, end=1, language="en")) == Segment(
        "one", 0.5, 1.0
    )
    assert reader.language == "en"


def test_words_that_have_times():
    spoken = response("one", start=0, end=1)
    words = response(json.dumps([*WORDS, {"word": "two"}]), name="words").outputs
    spoken.outputs += words
    found = SegmentReader(ask("verbose_json", "word"), None).read(spoken)
    assert found.words == ({"word": "one", "start": 0.5, "end": 0.75},)
    body = json.loads(written(ask("verbose_json", "word"), [found], "en")[0])
    assert body["words"] == [{"word": "one", "start": 0.5, "end": 0.75}]
    assert "segments" not in body


@pytest.mark.parametrize(
    ("asked", "said"),
    [(ask("srt"), "no times"), (ask("vtt"), "no times"), (ask("verbose_json", "word"), "of words")],
)
def test_times_are_not_made_up(asked, said):
    with pytest.raises(BadRequestError, match=said):
        SegmentReader(asked, None).read(response("one"))


def test_a_form():
    found = read_hearing(
        FormData(
            [
                ("model", "m"),
                ("response_format", "verbose_json"),
                ("language", "en"),
                ("temperature", "0.5"),
                ("timestamp_granularities[]", "word"),
                ("timestamp_granularities[]", "segment"),
            ]
        )
    )
    assert found.times == {"word", "segment"}
    assert found.parameters == {"partial": False, "language": "en", "temperature": 0.5}
