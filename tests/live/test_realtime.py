"""OpenAI's Realtime transcription as openai-python, unmodified, asks for it; and vLLM's dialect."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soxr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.audio.sounds import RATE, pcm, reading, silence, tone
from tests.live.keyed import Keyed, keyed_service
from tests.live.service import Service

PREFIX = "/v1"
MODEL = "scribe"
SAID = "conversation.item.input_audio_transcription"
DELTA, COMPLETED, FAILED = f"{SAID}.delta", f"{SAID}.completed", f"{SAID}.failed"
COMMITTED = "input_audio_buffer.committed"
# A bound for what would hang otherwise, not a timing.
PATIENCE = 60
# As in tests/live/models/scribe.
PAUSE, RATE_WORD, LANGUAGE, SILENCE, FAIL_ONE, FAIL, CRASH, WAIT, HEADERS = range(9)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("realtime") / "service"
    limits = {"stream_idle_seconds": 2, "request_bytes": 1 << 20}
    with keyed_service(folder, limits=limits, drain_seconds=PATIENCE) as running:
        yield running


def base64_of(samples: Any) -> str:
    return base64.b64encode(np.asarray(samples, "<i2").tobytes()).decode()


def transcription(model: str = MODEL, detection: Any = "", **said: Any) -> Any:
    found: dict[str, Any] = {"transcription": {"model": model}, **said}
    if detection != "":
        found["turn_detection"] = detection
    return {"type": "transcription", "audio": {"input": found}}


@asynccontextmanager
async def session(service: Service, **said: Any) -> AsyncIterator[Any]:
    """A session of openai-python's, set to something."""
    query: Any = {"intent": "transcription"}
    async with (
        asyncio.timeout(PATIENCE),
        openai.AsyncOpenAI(base_url=service.url + PREFIX, api_key="none") as client,
        client.realtime.connect(extra_query=query) as connection,
    ):
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session=transcription(**said))
        assert (await connection.recv()).type == "session.updated"
        yield connection


async def until(connection: Any, kind: str, count: int = 1) -> list[Any]:
    """The events up to so many of a kind."""
    events: list[Any] = []
    while sum(event.type == kind for event in events) < count:
        events.append(await connection.recv())
    return events


def deltas(events: list[Any]) -> list[str]:
    return [event.delta for event in events if event.type == DELTA]


def transcripts(events: list[Any]) -> list[str]:
    return [event.transcript for event in events if event.type == COMPLETED]


@asynccontextmanager
async def raw(
    service: Service, query: str = "?intent=transcription", **named: Any
) -> AsyncIterator[ClientConnection]:
    """A socket, by a client that knows nothing of OpenAI."""
    url = service.url.replace("http", "ws", 1) + f"{PREFIX}/realtime{query}"
    async with asyncio.timeout(PATIENCE), connect(url, **named) as socket:
        yield socket


async def tell(socket: ClientConnection, kind: str, **said: Any) -> None:
    await socket.send(json.dumps({"type": kind, **said}))


async def told(socket: ClientConnection) -> Any:
    return json.loads(await socket.recv())


async def closing(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as raised:
        while True:
            await socket.recv()
    close = raised.value.rcvd
    assert close is not None
    return close.code, close.reason


async def test_an_utterance_word_by_word(service: Service) -> None:
    async with session(service) as connection:
        for samples in ([101, 102], [103], [104, PAUSE]):
            await connection.input_audio_buffer.append(audio=base64_of(samples))
        events = await until(connection, COMPLETED)
    assert deltas(events) == ["w101 w102", " w103 w104"]
    assert transcripts(events) == ["w101 w102 w103 w104"]
    assert [event.type for event in events if event.type != DELTA] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        COMMITTED,
        "conversation.item.added",
        "conversation.item.done",
        COMPLETED,
    ]


async def test_times_go_on_through_a_session(service: Service) -> None:
    speech = [200] * 12_000
    async with session(service) as connection:
        for samples in ([0] * 24_000 + speech, speech):
            await connection.input_audio_buffer.append(audio=base64_of(samples))
            await connection.input_audio_buffer.commit()
        events = await until(connection, COMPLETED, count=2)
    started = [e.audio_start_ms for e in events if e.type.endswith("speech_started")]
    assert started == [1000, 1500]
    assert [event.usage.seconds for event in events if event.type == COMPLETED] == [0.5, 0.5]


async def test_turns_that_the_client_ends(service: Service) -> None:
    async with session(service, detection=None) as connection:
        for turn in ([101, PAUSE, 102], [103]):
            await connection.input_audio_buffer.append(audio=base64_of(turn))
            await connection.input_audio_buffer.commit()
        events = await until(connection, COMPLETED, count=2)
    assert transcripts(events) == ["w101 w102", "w103"]
    assert "".join(deltas(events)) == "w101 w102w103"
    items = [event.item_id for event in events if event.type == COMMITTED]
    assert [event.item_id for event in events if event.type == COMPLETED] == items
    before = [event.previous_item_id for event in events if event.type == COMMITTED]
    assert before == [None, items[0]]


@pytest.mark.parametrize(
    ("format", "sound", "says"),
    [
        ({"type": "audio/pcm", "rate": 24_000}, b"\x01\x00\x65\x00", "24000Hz w101"),
        ({"type": "audio/pcm", "rate": 16_000}, b"\x01\x00\x65\x00", "16000Hz w101"),
        ({"type": "audio/pcmu"}, b"\xfd\x80", "w16 w32124"),
        ({"type": "audio/pcma"}, b"\xd4\xaa", "w24 w32256"),
    ],
)
async def test_formats(service: Service, format: Any, sound: bytes, says: str) -> None:
    async with session(service, format=format, detection=None) as connection:
        await connection.input_audio_buffer.append(audio=base64.b64encode(sound).decode())
        await connection.input_audio_buffer.commit()
        assert transcripts(await until(connection, COMPLETED)) == [says]


async def test_what_the_model_is_told(service: Service) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 250}
    said = {"model": MODEL, "language": "de"}
    async with session(service, detection=detection, transcription=said) as connection:
        samples = [LANGUAGE, SILENCE, HEADERS, PAUSE]
        await connection.input_audio_buffer.append(audio=base64_of(samples))
        language, silence, headers = transcripts(await until(connection, COMPLETED))[0].split()
    assert (language, silence) == ("de", "250")
    assert "user-agent" in headers
    assert "authorization" not in headers
    assert "sec-websocket" not in headers


async def test_a_sample_cut_in_two_and_a_buffer_that_is_cleared(service: Service) -> None:
    async with session(service, detection=None) as connection:
        buffer = connection.input_audio_buffer
        await buffer.append(audio=base64_of([300]))
        await buffer.clear()
        await until(connection, "input_audio_buffer.cleared")
        for half in (b"\x65", b"\x00\x66", b"\x00\x67"):
            await buffer.append(audio=base64.b64encode(half).decode())
        await buffer.commit()
        assert transcripts(await until(connection, COMPLETED)) == ["w101 w102"]


async def test_errors_name_their_event_and_the_session_goes_on(service: Service) -> None:
    async with session(service) as connection:
        for event, param, code in (
            ({"type": "input_audio_buffer.append", "audio": "?"}, "audio", None),
            ({"type": "input_audio_buffer.append"}, "audio", None),
            ({"type": "input_audio_buffer.commit"}, None, "input_audio_buffer_commit_empty"),
            ({"type": "response.create"}, "type", None),
            ({"type": "session.update", "session": {"type": "realtime"}}, "session.type", None),
            ({"type": "nonsense"}, "type", None),
        ):
            await connection.send_raw(json.dumps({**event, "event_id": "mine"}))
            (answer,) = await until(connection, "error")
            assert answer.error.event_id == "mine"
            assert answer.error.type == "invalid_request_error"
            assert (answer.error.param, answer.error.code) == (param, code)
        for text in ("", "{", "[]", "7", '"a"', b"\xff\x00"):
            await connection.send_raw(text)
            await until(connection, "error")
        await connection.input_audio_buffer.append(audio=base64_of([101, PAUSE]))
        assert transcripts(await until(connection, COMPLETED)) == ["w101"]


async def test_what_fails_in_the_model(service: Service) -> None:
    async with session(service) as connection:
        buffer = connection.input_audio_buffer
        await buffer.append(audio=base64_of([FAIL_ONE, 101, PAUSE]))
        events = await until(connection, COMPLETED)
        assert events[0].error.message == "This was not heard."
        await buffer.append(audio=base64_of([102]))
        await buffer.append(audio=base64_of([FAIL]))
        failed = (await until(connection, FAILED))[-1]
        assert failed.error.message == "It is too loud here."
        # Another recording, and another failure; of this one nobody is told why.
        await buffer.append(audio=base64_of([CRASH]))
        (error,) = await until(connection, "error")
        assert error.error.type == "server_error"
        assert error.error.message.startswith("The service failed on request")
        await buffer.append(audio=base64_of([103, PAUSE]))
        assert transcripts(await until(connection, COMPLETED)) == ["w103"]


async def test_the_model_in_the_address_and_one_that_is_not_there(service: Service) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        openai.AsyncOpenAI(base_url=service.url + PREFIX, api_key="none") as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        await connection.input_audio_buffer.append(audio=base64_of([101, PAUSE]))
        assert transcripts(await until(connection, COMPLETED)) == ["w101"]
        await connection.session.update(session=transcription("no-model"), event_id="mine")
        error = (await until(connection, "error"))[-1].error
        assert (error.code, error.event_id) == ("model_not_found", "mine")
        with pytest.raises(ConnectionClosed) as raised:
            await connection.recv()
        assert raised.value.rcvd is not None
        assert raised.value.rcvd.code == 4404


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("?model=no-model", 404, "There is no model 'no-model'"),
        ("?model=text-model", 400, "hears nothing"),
        ("?intent=conversation", 400, "Only transcription"),
    ],
)
async def test_before_the_upgrade_it_is_a_status(
    service: Service, query: str, status: int, says: str
) -> None:
    with pytest.raises(InvalidStatus) as raised:
        async with raw(service, query, additional_headers={"x-request-id": "mine"}):
            pass
    response = raised.value.response
    assert response.status_code == status
    assert response.headers["x-request-id"] == "mine"
    assert says in json.loads(response.body)["error"]["message"]


def test_asked_without_an_upgrade_it_says_what_it_is(service: Service) -> None:
    answer = httpx.get(f"{service.url}{PREFIX}/realtime", timeout=PATIENCE)
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert "WebSocket" in answer.json()["error"]["message"]


async def test_sub_protocols_and_the_id_of_the_call(service: Service) -> None:
    protocols: Any = ["realtime", "openai-beta.realtime-v1"]
    headers = {"x-request-id": "mine"}
    async with raw(service, subprotocols=protocols, additional_headers=headers) as socket:
        assert socket.subprotocol == "realtime"
        assert socket.response is not None
        assert socket.response.headers["x-request-id"] == "mine"
        assert (await told(socket))["type"] == "transcription_session.created"


async def test_the_beta_of_the_client(service: Service) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        openai.AsyncOpenAI(base_url=service.url + PREFIX, api_key="none") as client,
    ):
        url = client.base_url.copy_with(scheme="ws")
        client.websocket_base_url = url
        query: Any = {"intent": "transcription"}
        async with client.beta.realtime.connect(model=MODEL, extra_query=query) as connection:
            said = {"input_audio_format": "pcm16", "turn_detection": None}
            await connection.transcription_session.update(session=said)  # type: ignore[arg-type]
            await connection.input_audio_buffer.append(audio=base64_of([101, 102]))
            await connection.input_audio_buffer.commit()
            events: list[Any] = await until(connection, COMPLETED)
    assert [event.type for event in events] == [
        "transcription_session.created",
        "transcription_session.updated",
        COMMITTED,
        "conversation.item.created",
        DELTA,
        COMPLETED,
    ]
    assert transcripts(events) == ["w101 w102"]


async def test_vllms_dialect(service: Service) -> None:
    async with raw(service, "") as socket:
        created = await told(socket)
        assert (created["type"], created["id"][:5]) == ("session.created", "sess_")
        await tell(socket, "session.update", model=MODEL, language="de")
        for _ in range(2):
            await tell(socket, "input_audio_buffer.commit")
            for samples in ([RATE_WORD, LANGUAGE], [101], [PAUSE, 102]):
                await tell(socket, "input_audio_buffer.append", audio=base64_of(samples))
            await tell(socket, "input_audio_buffer.commit", final=True)
            text = ""
            while (event := await told(socket))["type"] == "transcription.delta":
                text += event["delta"]
            whole = "16000Hz de w101 w102"
            assert event == {"type": "transcription.done", "text": whole, "usage": None}
            assert text == whole
        await tell(socket, "input_audio_buffer.append", audio="?")
        error = await told(socket)
        assert error["type"] == "error"
        assert "base64" in error["error"]
        await tell(socket, "session.update", model="no-model")
        assert (await told(socket))["code"] == "model_not_found"
        assert (await closing(socket))[0] == 4404


async def test_one_that_never_reads_is_ended_and_the_model_with_it(keyed: Keyed) -> None:
    headers = keyed.headers["infer"]
    audio = base64_of([101, PAUSE] * 20_000)
    async with raw(
        keyed.service, f"?model={MODEL}", additional_headers=headers, max_queue=1
    ) as socket:
        with pytest.raises(ConnectionClosed):
            while True:
                await tell(socket, "input_audio_buffer.append", audio=audio)
    log = (keyed.keys_file.parent / "server.log").read_text()
    assert "model=scribe" in log
    async with raw(keyed.service, f"?model={MODEL}", additional_headers=headers) as socket:
        assert (await told(socket))["type"] == "session.created"


async def test_bounds_of_a_session(keyed: Keyed) -> None:
    headers = keyed.headers["infer"]
    async with raw(keyed.service, f"?model={MODEL}", additional_headers=headers) as socket:
        assert await closing(socket) == (
            4408,
            "Nothing came or went for 2 s, so the stream was ended.",
        )
    async with raw(keyed.service, f"?model={MODEL}", additional_headers=headers) as socket:
        await socket.send("x" * (1 << 20) + "x")
        assert (await closing(socket))[0] == 1009


@pytest.mark.parametrize(
    ("name", "model", "status", "code"),
    [
        ("nobody", "scribe", 401, "invalid_api_key"),
        ("wrong", "scribe", 401, "invalid_api_key"),
        ("jwt.none", "scribe", 403, "permission_denied"),
        ("limited", "scribe", 404, "model_not_found"),
        ("infer", "no-model", 404, "model_not_found"),
    ],
)
async def test_keys(keyed: Keyed, name: str, model: str, status: int, code: str) -> None:
    with pytest.raises(InvalidStatus) as raised:
        async with raw(keyed.service, f"?model={model}", additional_headers=keyed.headers[name]):
            pass
    assert raised.value.response.status_code == status
    assert json.loads(raised.value.response.body)["error"]["code"] == code


async def test_a_restricted_key_cannot_name_another_model_later(keyed: Keyed) -> None:
    async with raw(keyed.service, "", additional_headers=keyed.headers["limited"]) as socket:
        await told(socket)
        await tell(socket, "session.update", session=transcription())
        assert (await told(socket))["error"]["code"] == "model_not_found"
        assert (await closing(socket))[0] == 4404


async def test_metrics_and_the_log_know_the_protocol(service: Service) -> None:
    async with session(service) as connection:
        await connection.input_audio_buffer.append(audio=base64_of([101, PAUSE]))
        await until(connection, COMPLETED)
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{service.metrics}/metrics")).text
    labels = 'model_name="scribe",model_version="",protocol="websocket"'
    assert any(line.startswith(f"stream_active{{{labels}}} 1") for line in text.splitlines())


class TestSpeech:
    """speech-model, with a real voice and without."""

    @pytest.mark.parametrize("sound", [silence(2.0), tone(2.0)], ids=["silence", "tone"])
    @pytest.mark.parametrize("detection", [None, {"type": "server_vad"}], ids=["turns", "vad"])
    async def test_no_voice_no_words(self, service: Service, sound: Any, detection: Any) -> None:
        said: Any = {"format": {"type": "audio/pcm", "rate": RATE}, "detection": detection}
        async with session(service, model="speech-model", **said) as connection:
            await connection.input_audio_buffer.append(audio=base64_of(pcm(sound)))
            await connection.input_audio_buffer.commit()
            events = await until(connection, COMPLETED)
        assert transcripts(events) == [""]
        assert deltas(events) == []

    @pytest.mark.parametrize("detection", [None, {"type": "server_vad"}], ids=["turns", "vad"])
    async def test_a_reading(self, service: Service, detection: Any) -> None:
        sound = soxr.resample(reading(4.9), RATE, 24_000)
        samples = pcm(np.concatenate([sound, silence(1.0, 24_000)]))
        async with session(service, model="speech-model", detection=detection) as connection:
            for at in range(0, len(samples), 2400):
                part = base64_of(samples[at : at + 2400])
                await connection.input_audio_buffer.append(audio=part)
            if detection is None:
                await connection.input_audio_buffer.commit()
            events = await until(connection, COMPLETED)
        assert transcripts(events) == ["It was the best of times, it was the worst of times."]
        bare = "".join(deltas(events)).casefold().replace(",", "").replace(".", "")
        assert bare == "it was the best of times it was the worst of times"


# The last of those of this service.
async def test_a_drain_lets_what_was_said_be_heard(keyed: Keyed) -> None:
    service, headers = keyed.service, keyed.headers["infer"]
    async with raw(service, f"?model={MODEL}", additional_headers=headers) as socket:
        await told(socket)
        await tell(socket, "input_audio_buffer.append", audio=base64_of([101]))
        assert (await told(socket))["type"] == "input_audio_buffer.speech_started"
        await tell(socket, "input_audio_buffer.append", audio=base64_of([WAIT, 102]))
        service.process.send_signal(signal.SIGTERM)
        async with httpx.AsyncClient(base_url=service.url) as client:
            while (await client.get("/v2/health/ready")).status_code != 503:
                pass
        (service.folder / "gate").touch()
        events = []
        with pytest.raises(ConnectionClosed) as raised:
            while True:
                events.append(await told(socket))
    said = [event["transcript"] for event in events if event["type"] == COMPLETED]
    assert said == ["w101 w7 w102"]
    assert events[-1]["type"] == "error"
    assert raised.value.rcvd is not None
    assert raised.value.rcvd.code == 1012
