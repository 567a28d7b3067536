"""What a session is set to."""

import pytest

from mlserver_streaming.openai.errors import FieldError
from mlserver_streaming.openai.fields import Fields
from mlserver_streaming.openai.realtime.config import (
    Config,
    Detection,
    flat_session_object,
    session_object,
    updated,
)
from mlserver_streaming.openai.realtime.sound import A_LAW, MU_LAW, PCM_16, PCM_24


def now(**found):
    return updated(Config(), Fields({"type": "transcription", "audio": {"input": found}}))


def before(**found):
    return updated(Config(), Fields(found))


def test_as_it_is_unless_set():
    config = updated(Config(), Fields({}))
    assert config == Config(None, None, None, PCM_24, Detection())
    assert config.parameters == {}


@pytest.mark.parametrize(
    ("found", "format"),
    [
        ({"type": "audio/pcm", "rate": 24_000}, PCM_24),
        ({"type": "audio/pcm"}, PCM_24),
        ({"rate": 16_000}, PCM_16),
        ({"type": "audio/pcm", "rate": 16_000}, PCM_16),
        ({"type": "audio/pcmu"}, MU_LAW),
        ({"type": "audio/pcma", "rate": 8000}, A_LAW),
        (None, PCM_24),
    ],
)
def test_formats(found, format):
    assert now(format=found).format is format


@pytest.mark.parametrize(
    ("name", "format"), [("pcm16", PCM_24), ("g711_ulaw", MU_LAW), ("g711_alaw", A_LAW)]
)
def test_formats_as_they_were_called(name, format):
    assert before(input_audio_format=name).format is format


def test_the_model_and_what_it_is_told():
    said = {"model": "m", "language": "en", "prompt": "Names: Ada."}
    for config in (now(transcription=said), before(input_audio_transcription=said)):
        assert config.model == "m"
        assert config.parameters == {"language": "en", "prompt": "Names: Ada."}


def test_only_what_is_named_changes():
    config = now(transcription={"model": "m", "language": "en"}, turn_detection=None)
    again = updated(config, Fields({"audio": {"input": {"transcription": {"prompt": "p"}}}}))
    assert (again.model, again.language, again.prompt) == ("m", "en", "p")
    assert again.detection is None
    none = updated(config, Fields({"audio": {"input": {"transcription": {"language": None}}}}))
    assert (none.model, none.language) == ("m", None)


def test_detection():
    said = {"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 200}
    for config in (now(turn_detection=said), before(turn_detection=said)):
        assert config.detection == Detection(0.7, None, 200)
        assert config.parameters == {"threshold": 0.7, "silence_duration_ms": 200}
    assert now(turn_detection=None).detection is None
    assert before(turn_detection=None).parameters == {}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "realtime"}, "session.type"),
        ({"type": 7}, "session.type"),
        ({"audio": []}, "session.audio"),
        (
            {"audio": {"input": {"format": {"type": "audio/opus"}}}},
            "session.audio.input.format.type",
        ),
        ({"audio": {"input": {"format": {"rate": 8000}}}}, "session.audio.input.format.rate"),
        ({"audio": {"input": {"format": "pcm16"}}}, "session.audio.input.format"),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
            "session.audio.input.turn_detection.type",
        ),
        (
            {"turn_detection": {"silence_duration_ms": 0}},
            "session.turn_detection.silence_duration_ms",
        ),
        ({"turn_detection": {"threshold": 7}}, "session.turn_detection.threshold"),
        ({"input_audio_format": "opus"}, "session.input_audio_format"),
        ({"input_audio_transcription": {"model": 7}}, "session.input_audio_transcription.model"),
    ],
)
def test_what_is_wrong_is_named(session, param):
    with pytest.raises(FieldError) as raised:
        updated(Config(), Fields(session, "session"))
    assert raised.value.param == param


@pytest.mark.parametrize("written", [session_object, flat_session_object])
def test_what_is_told_can_be_sent_back(written):
    config = Config("m", "en", "p", MU_LAW, Detection(0.5, 300, 500))
    told = written(config, "sess_1")
    assert told["id"] == "sess_1"
    assert updated(Config(), Fields(told)) == config
    silent = Config("m", detection=None)
    assert updated(Config(), Fields(written(silent, "sess_1"))) == silent
