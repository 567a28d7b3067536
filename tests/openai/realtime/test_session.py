"""A session: a client's events in, events out, no model and no socket."""

import asyncio

import numpy as np
import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from mlserver_streaming.errors import BadRequestError, WorkerLostError
from mlserver_streaming.openai.fields import Fields
from mlserver_streaming.openai.realtime.config import Config
from mlserver_streaming.openai.realtime.events import OpenAIWriter
from mlserver_streaming.openai.realtime.recording import AHEAD, Recordings
from mlserver_streaming.openai.realtime.session import Session
from mlserver_streaming.openai.realtime.turns import Heard

KNOWN = TypeAdapter(RealtimeServerEvent)
SECOND = bytes(48_000)  # of sound
NO_TURNS = {"audio": {"input": {"turn_detection": None}}}
SAID = "conversation.item.input_audio_transcription"


@pytest.fixture
def recordings():
    return Recordings()


@pytest.fixture
def session(recordings):
    return Session(OpenAIWriter(flat=False), Config("m"), recordings)


def take(found, kind, sound=b"", /, **said):
    return found.take(Fields({"type": kind, **said}), sound)


def append(session, sound=SECOND):
    assert take(session, "input_audio_buffer.append", sound) == []


def heard(text, final=True, utterance=0, start=100, end=900):
    return Heard(text, final, utterance, start, end)


def kinds(events):
    return [event["type"] for event in events]


def test_every_event_is_one_that_openais_client_knows(session, recordings):
    found = session.created(1.0)
    found += take(session, "session.update", session=NO_TURNS)
    append(session)
    turn = recordings.open.turn
    found += turn.heard(heard("a b", final=False)) + turn.heard(heard("a b c", final=False))
    found += take(session, "input_audio_buffer.commit")
    found += turn.heard(heard("a b c")) + turn.ended(1.0)
    found += take(session, "input_audio_buffer.clear")
    found += take(session, "session.update", session={"turn_detection": {"type": "server_vad"}})
    append(session)
    turn = recordings.open.turn
    found += turn.heard(heard("d")) + turn.heard(heard("e", final=False, utterance=1))
    found += turn.failed(WorkerLostError())
    found += session.writer.error(BadRequestError("No."), "event_7")
    told = [KNOWN.validate_python(event, strict=True) for event in found]
    assert [each.type for each in told] == kinds(found)
    assert len({each.event_id for each in told}) == len(told)
    assert told[-1].error.event_id == "event_7"


def test_an_utterance_is_an_item(session, recordings):
    append(session)
    turn = recordings.open.turn
    found = turn.heard(heard("It was", final=False))
    assert kinds(found) == ["input_audio_buffer.speech_started"]
    assert found[0]["audio_start_ms"] == 100
    found += turn.heard(heard("It was the", final=False)) + turn.heard(heard("It was the end."))
    assert kinds(found)[1:] == [
        f"{SAID}.delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        f"{SAID}.delta",
        f"{SAID}.completed",
    ]
    ids = {event.get("item_id") or event["item"]["id"] for event in found}
    assert len(ids) == 1
    assert "".join(event.get("delta", "") for event in found) == found[-1]["transcript"]
    assert found[-1]["usage"] == {"type": "duration", "seconds": 0.8}
    after = turn.heard(heard("Next.", utterance=1))
    assert after[2]["previous_item_id"] == ids.pop()
    assert turn.ended(2.0) == []


def test_silence_is_no_item(session, recordings):
    append(session)
    assert recordings.open.turn.heard(heard("")) == []
    assert recordings.open.turn.ended(1.0) == []


def test_a_commit_amid_speech_is_answered_though_nobody_speaks(session, recordings):
    append(session)
    turn = recordings.open.turn
    assert take(session, "input_audio_buffer.commit") == []
    assert kinds(turn.ended(1.0)) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        f"{SAID}.completed",
    ]
    append(session)
    turn = recordings.open.turn
    take(session, "input_audio_buffer.commit")
    found = turn.heard(heard("Now.")) + turn.ended(1.0)
    assert kinds(found).count("input_audio_buffer.committed") == 1
    assert "input_audio_buffer.speech_stopped" not in kinds(found)


def test_an_utterance_whose_words_were_lost_has_failed(session, recordings):
    append(session)
    turn = recordings.open.turn
    turn.heard(heard("It", final=False))
    found = turn.heard(heard("Then", final=False, utterance=1))
    assert kinds(found) == [f"{SAID}.failed", "input_audio_buffer.speech_started"]


def test_without_detection_a_commit_ends_an_item(session, recordings):
    take(session, "session.update", session=NO_TURNS)
    append(session)
    append(session)
    turn = recordings.open.turn
    found = turn.heard(heard("One.")) + turn.heard(heard("Two", final=False, utterance=1))
    found += turn.heard(heard("Two too", final=False, utterance=1))
    assert kinds(found) == [f"{SAID}.delta"] * 2
    committed = take(session, "input_audio_buffer.commit")
    assert kinds(committed)[0] == "input_audio_buffer.committed"
    found += turn.heard(heard("Two too.", utterance=1)) + turn.ended(2.0)
    assert found[-1]["transcript"] == "One. Two too."
    assert "".join(event.get("delta", "") for event in found) == "One. Two too."
    assert found[-1]["usage"]["seconds"] == 2.0
    assert found[-1]["item_id"] == committed[0]["item_id"]
    assert recordings.open is None


def test_without_detection_silence_is_an_empty_item(session, recordings):
    take(session, "session.update", session=NO_TURNS)
    append(session)
    turn = recordings.open.turn
    take(session, "input_audio_buffer.commit")
    (completed,) = turn.ended(1.0)
    assert completed["transcript"] == ""


def test_a_failed_turn(session, recordings):
    take(session, "session.update", session=NO_TURNS)
    append(session)
    found = recordings.open.turn.failed(WorkerLostError())
    assert kinds(found)[-1] == f"{SAID}.failed"
    assert found[-1]["error"]["type"] == "server_error"
    append(session, SECOND)
    take(session, "input_audio_buffer.clear")
    take(session, "session.update", session={"turn_detection": {}})
    append(session)
    assert kinds(recordings.open.turn.failed(WorkerLostError())) == ["error"]


def test_nothing_to_commit(session):
    for _ in range(2):
        with pytest.raises(BadRequestError, match="nothing to commit") as raised:
            take(session, "input_audio_buffer.commit")
        assert raised.value.code == "input_audio_buffer_commit_empty"
        append(session)
        take(session, "input_audio_buffer.clear")


def test_clear_forgets_the_sound(session, recordings):
    append(session, b"\0")
    append(session)
    recording = recordings.open
    assert kinds(take(session, "input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert recording.is_dropped
    assert recordings.open is None
    # Half a sample is forgotten too.
    append(session, b"\1\0")
    assert recordings.open.samples == 1


def test_sound_before_a_model_is_named(recordings):
    session = Session(OpenAIWriter(flat=False), Config(), recordings)
    with pytest.raises(BadRequestError, match="Name a model") as raised:
        take(session, "input_audio_buffer.append", SECOND)
    assert raised.value.param == "session.audio.input.transcription.model"
    assert recordings.open is None


def test_another_language_is_another_recording(session, recordings):
    append(session)
    first = recordings.open
    said = {"audio": {"input": {"transcription": {"language": "de"}}}}
    take(session, "session.update", session=said)
    append(session)
    assert recordings.open is not first
    assert not first.is_dropped
    assert (first.begun, recordings.open.begun) == (0, 1000)
    assert recordings.open.config.parameters == {"language": "de"}
    # Nothing has changed: the same recording goes on.
    second = recordings.open
    take(session, "session.update", session=said)
    assert recordings.open is second


def test_uncommitted_sound_is_not_heard_in_two_ways(session, recordings):
    take(session, "session.update", session=NO_TURNS)
    append(session)
    with pytest.raises(BadRequestError, match="Commit or clear"):
        take(session, "session.update", session={"turn_detection": {"type": "server_vad"}})
    assert session.config.detection is None
    assert recordings.open is not None


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("response.create", "Only transcription"),
        ("conversation.item.create", "Only transcription"),
        ("output_audio_buffer.clear", "Only transcription"),
        ("input_audio_buffer.speak", "'type' must be one of session.update"),
        (None, "it is missing"),
        (7, "not 7"),
        ([], "not a list"),
    ],
)
def test_events_that_nobody_takes(session, kind, says):
    with pytest.raises(BadRequestError, match=says) as raised:
        take(session, kind)
    assert raised.value.param == "type"


def test_an_update_needs_a_session(session):
    with pytest.raises(BadRequestError, match="'session' must be an object"):
        take(session, "session.update")


class TestAsBefore:
    """The flat events of OpenAI's beta."""

    def test_told_by_the_header(self, recordings):
        session = Session(OpenAIWriter(flat=True), Config("m"), recordings)
        (created,) = session.created(1.0)
        assert created["type"] == "transcription_session.created"
        assert created["session"]["input_audio_format"] == "pcm16"
        append(session)
        found = recordings.open.turn.heard(heard("A."))
        assert "conversation.item.created" in kinds(found)
        assert "conversation.item.added" not in kinds(found)

    def test_told_by_the_first_update(self, session):
        said = {"input_audio_format": "g711_ulaw", "input_audio_transcription": {"model": "n"}}
        (event,) = take(session, "transcription_session.update", session=said)
        assert event["type"] == "transcription_session.updated"
        assert event["session"]["input_audio_format"] == "g711_ulaw"
        assert session.config.model == "n"


class TestVllm:
    """vLLM's dialect, told by the first event."""

    @pytest.fixture
    def vllm(self, session):
        said = {"model": "v", "language": "en"}
        assert take(session, "session.update", **said) == []
        return session

    def test_as_its_example_speaks_it(self, vllm, recordings):
        assert vllm.created(1.0)[0].keys() >= {"id", "created"}
        assert vllm.config.parameters == {"language": "en"}
        assert take(vllm, "input_audio_buffer.commit") == []
        append(vllm, bytes(32_000))
        turn = recordings.open.turn
        assert recordings.open.seconds == 1.0
        assert turn.heard(heard("a b", final=False)) == []
        (delta,) = turn.heard(heard("a b c", final=False))
        assert delta == {"type": "transcription.delta", "delta": "a b"}
        assert take(vllm, "input_audio_buffer.commit", final=True) == []
        (rest,) = turn.heard(heard("a b c."))
        assert rest == {"type": "transcription.delta", "delta": " c."}
        (done,) = turn.ended(1.0)
        assert done == {"type": "transcription.done", "text": "a b c.", "usage": None}

    def test_a_commit_that_is_not_final_ends_nothing(self, vllm, recordings):
        append(vllm)
        take(vllm, "input_audio_buffer.commit")
        assert recordings.open is not None

    def test_errors_are_sentences(self, vllm):
        (event,) = vllm.writer.error(BadRequestError("No."), "event_1")
        assert event == {"type": "error", "error": "No.", "code": None}
        with pytest.raises(BadRequestError, match="'model'"):
            take(vllm, "session.update")

    def test_only_the_first_event_tells(self, session):
        append(session)
        with pytest.raises(BadRequestError, match="'session' must be an object"):
            take(session, "session.update", model="v")


class TestRecordings:
    """Sound on its way to a model."""

    async def test_in_order_and_bounded(self, session, recordings):
        append(session, SECOND * 20)
        waiting = asyncio.create_task(recordings.room())
        async for recording in recordings.each():
            sizes = []
            while (samples := await recordings.read(recording)) is not None:
                sizes.append(len(samples))
                assert samples.dtype == np.int16
                if len(sizes) == 2:
                    await asyncio.sleep(0)
                    assert not waiting.done()
                if len(sizes) == 5:
                    recordings.end()
            break
        await waiting
        assert sizes == [96_000] * 5
        assert recordings.ms == 20_000

    async def test_many_short_ones_wait_too(self, session, recordings):
        for _ in range(AHEAD + 2):
            append(session)
            take(session, "input_audio_buffer.commit")
        waiting = asyncio.create_task(recordings.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()

    async def test_one_whose_model_has_ended_is_begun_again(self, session, recordings):
        append(session)
        async for _ in recordings.each():
            break
        each = recordings.each()
        await anext(each)
        await each.aclose()
        assert recordings.open is None
        append(session)
        assert recordings.open is not None
