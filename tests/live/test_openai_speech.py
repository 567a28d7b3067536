"""Transcriptions as openai-python, unmodified, asks for them."""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from typing import Any

import httpx
import openai
import pytest

from tests.audio.sounds import clips, needs_speech, pcm, silence, wav
from tests.live.openai_service import PREFIX, client
from tests.live.service import Service

MODEL = "speech-model"
PATIENCE = 60


def transcribed(service: Service, file: bytes, **named: Any) -> Any:
    with client(service, timeout=PATIENCE) as asked:
        found: Any = asked.audio.transcriptions.create(model=MODEL, file=("a.wav", file), **named)
        return list(found) if named.get("stream") else found


@pytest.fixture(scope="module")
def clip() -> bytes:
    return clips()[0][0]


@pytest.fixture(scope="module")
def text(service: Service, clip: bytes) -> str:
    """What the model says of the clip over V2."""
    audio = {"name": "audio", "shape": [1], "datatype": "BYTES"}
    answer = httpx.post(
        f"{service.url}/v2/models/{MODEL}/infer",
        json={"inputs": [{**audio, "data": [base64.b64encode(clip).decode()]}]},
        timeout=PATIENCE,
    )
    return str(answer.json()["outputs"][0]["data"][0])


@needs_speech
def test_text_and_json(service: Service, clip: bytes, text: str) -> None:
    assert text
    assert transcribed(service, clip).text == text
    assert transcribed(service, clip, response_format="text") == f"{text}\n"


@needs_speech
def test_segments_have_the_times_of_utterances(service: Service, clip: bytes, text: str) -> None:
    found = transcribed(service, clip, response_format="verbose_json", language="en")
    assert (found.text, found.language) == (text, "en")
    assert " ".join(segment.text for segment in found.segments) == text
    times = [time for segment in found.segments for time in (segment.start, segment.end)]
    assert all(before <= after for before, after in pairwise(times))
    assert found.duration == times[-1] > 0


@needs_speech
def test_subtitles(service: Service, clip: bytes, text: str) -> None:
    srt = transcribed(service, clip, response_format="srt")
    vtt = transcribed(service, clip, response_format="vtt")
    assert re.match(r"1\n00:00:\d\d,\d{3} --> 00:00:\d\d,\d{3}\n\S", srt)
    assert re.match(r"WEBVTT\n\n00:00:\d\d\.\d{3} --> 00:00:\d\d\.\d{3}\n\S", vtt)
    for found in (srt, vtt):
        assert text.split()[-1] in found


@needs_speech
def test_a_streamed_transcription(service: Service, clip: bytes, text: str) -> None:
    events = transcribed(service, clip, stream=True)
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert "".join(event.delta for event in events[:-1]) == text
    assert (events[-1].type, events[-1].text) == ("transcript.text.done", text)


@needs_speech
def test_silence_has_no_words(service: Service) -> None:
    quiet = wav(pcm(silence(2.0)))
    assert transcribed(service, quiet).text == ""
    (event,) = transcribed(service, quiet, stream=True)
    assert (event.type, event.text) == ("transcript.text.done", "")


@needs_speech
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "file", [b"no audio at all", wav(pcm(silence(0)))], ids=["text", "no length"]
)
def test_what_is_no_audio_is_a_status(service: Service, file: bytes, stream: bool) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        transcribed(service, file, stream=stream)
    assert raised.value.status_code in (400, 422)
    assert "audio" in raised.value.message


def test_an_empty_file(service: Service) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        transcribed(service, b"")
    assert raised.value.param == "file"


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "srt", "stream": "true"}, "response_format"),
        ({"stream": "maybe"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": "2"}, "temperature"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities[]"),
        (
            {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            "timestamp_granularities[]",
        ),
        ({"model": ""}, "model"),
    ],
)
def test_bad_fields_are_named(service: Service, form: dict[str, str], param: str) -> None:
    answer = httpx.post(
        f"{service.url}{PREFIX}/audio/transcriptions",
        data={"model": MODEL, **form},
        files={"file": ("a.wav", b"RIFF")},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_form_without_a_file_or_with_a_broken_boundary(service: Service) -> None:
    url = f"{service.url}{PREFIX}/audio/transcriptions"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    part = b'--x\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    for body, said in (
        (part % (b"model", MODEL.encode()) + b"--x--\r\n", "'file'"),
        (part % (b"file", b"RIFF") + part % (b"model", MODEL.encode()) + b"--x--\r\n", "'file'"),
        (b"--y\r\n", "cannot be read"),
    ):
        answer = httpx.post(url, content=body, headers=kind)
        assert answer.status_code == 400, answer.text
        assert said in answer.json()["error"]["message"]
    assert httpx.post(url, content=b"", headers={"content-type": "multipart/form-data"}).is_error


def test_a_model_that_hears_nothing(service: Service) -> None:
    with (
        client(service) as asked,
        pytest.raises(openai.BadRequestError, match="hears nothing"),
    ):
        asked.audio.transcriptions.create(model="text-model", file=("a.wav", b"RIFF"))
