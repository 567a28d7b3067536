"""The speech model on tones whose text is known: whole, in chunks, in sequences, and bad input."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.models.errors import MLServerError
from runtimes.speech.model import SpeechModel
from runtimes.speech.recogniser import DecoderDiedError
from tests.audio.sounds import RATE, coded, loud, pcm, silence, tone, wav
from tests.runtimes.speech_sounds import (
    chunks,
    request,
    said,
    settings,
    spell,
    texts,
    words,
    write_model,
)

SOUND = spell("ab ba")
TWO = np.concatenate([spell("ab"), silence(1), spell("b a")])


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[SpeechModel]:
    made = SpeechModel(settings(write_model(tmp_path), max_recordings=9, max_request_seconds=30))
    await made.load()
    made._hearing._voice = lambda: loud
    yield made
    await made.unload()


async def stream(model: SpeechModel, requests: list[InferenceRequest]) -> list[InferenceResponse]:
    async def each() -> AsyncIterator[InferenceRequest]:
        for one in requests:
            await asyncio.sleep(0)
            yield one

    return [response async for response in model.predict_stream(each())]


def finals(responses: list[InferenceResponse]) -> list[str]:
    return [texts(response)[0] for response in responses if said(response).get("final")]


async def test_whole_recordings(model: SpeechModel) -> None:
    response = await model.predict(
        request([wav(spell("ab")), wav(spell("b")), wav(TWO)], outputs=["words"])
    )
    assert texts(response) == ["ab", "b", "ab b a"]
    assert said(response) == {"final": True}
    assert [word["word"] for word in words(response)[2]] == ["ab", "b", "a"]
    assert words(response)[0][0]["start"] == pytest.approx(0.4, abs=0.1)
    assert words(response)[2][1]["start"] == pytest.approx(len(spell("ab")) / 16000 + 1.4, abs=0.1)


async def test_one_recording_says_when_and_how_sure(model: SpeechModel) -> None:
    response = await model.predict(request([wav(SOUND)]))
    assert texts(response) == ["ab ba"]
    assert [output.name for output in response.outputs] == ["transcript"]
    found = said(response)
    assert found["start"] == pytest.approx(0.4, abs=0.06)
    assert found["end"] == pytest.approx(0.4 + 4 * 0.3 + 0.2, abs=0.06)
    assert 0.5 < found["confidence"] <= 1


@pytest.mark.parametrize(
    "sent",
    [
        pcm(SOUND),
        SOUND,
        SOUND[None, :],
        [wav(SOUND, bits=24, channels=2)],
        [wav(SOUND, bits=32, floating=True)],
        [coded(SOUND, "flac", "flac")],
        [coded(SOUND, "libopus", "ogg", rate=16_000)],
    ],
    ids=["int16", "fp32", "fp32 [1, n]", "24 bit stereo", "floating", "flac", "opus"],
)
async def test_forms(model: SpeechModel, sent: Any) -> None:
    assert texts(await model.predict(request(sent, sample_rate=16_000))) == ["ab ba"]


@pytest.mark.parametrize("rate", [8_000, 44_100])
async def test_other_rates(model: SpeechModel, rate: int) -> None:
    at = np.arange(0, len(SOUND), 16_000 / rate)
    other = np.interp(at, np.arange(len(SOUND)), SOUND).astype(np.float32)
    assert texts(await model.predict(request(other, sample_rate=rate))) == ["ab ba"]


async def test_silence_has_no_words(model: SpeechModel) -> None:
    response = await model.predict(request([wav(silence(20))]))
    assert texts(response) == [""]
    sent = [request(chunk, sample_rate=16_000) for chunk in chunks(silence(20), 1)]
    assert await stream(model, sent) == []


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.77, 10])
async def test_a_stream_says_what_unary_says(model: SpeechModel, seconds: float) -> None:
    sent = [
        request(chunk, id=str(number), sample_rate=16_000)
        for number, chunk in enumerate(chunks(TWO, seconds))
    ]
    responses = await stream(model, sent)
    assert finals(responses) == ["ab", "b a"]
    assert [said(each)["utterance"] for each in responses if said(each)["final"]] == [0, 1]
    assert responses[-1].id == sent[-1].id  # the recording's end answers its last request


async def test_a_wav_one_byte_at_a_time_and_then_in_halves_of_samples(model: SpeechModel) -> None:
    data = wav(spell("ab", 0.2, 0.1))
    cuts = [*range(500), *range(500, len(data), 63)]
    pieces = [data[at:end] for at, end in zip(cuts, [*cuts[1:], len(data)], strict=True)]
    sent = [request([piece], id=str(number)) for number, piece in enumerate(pieces)]
    assert finals(await stream(model, sent)) == ["ab"]


async def test_partials_are_revised_and_can_be_left_out(model: SpeechModel) -> None:
    sound = chunks(spell("ababab"), 0.5)
    responses = await stream(model, [request(chunk, sample_rate=16_000) for chunk in sound])
    partials = [texts(each)[0] for each in responses if not said(each)["final"]]
    assert all("ababab".startswith(text) for text in partials)
    assert len(set(partials)) == len(partials)
    without = [request(chunk, sample_rate=16_000, partial=False) for chunk in sound]
    assert [said(each)["final"] for each in await stream(model, without)] == [True]


async def test_a_streams_first_request_says_how_utterances_are_cut(model: SpeechModel) -> None:
    first, second = pcm(TWO[: RATE // 10]), pcm(TWO[RATE // 10 :])
    asked = {"sample_rate": RATE, "silence_duration_ms": 2000}
    requests = [request(first, **asked), request(second, sample_rate=RATE)]
    assert finals(await stream(model, requests)) == ["abb a"]  # one utterance
    usual = [request(first, sample_rate=RATE), request(second, **asked)]
    assert finals(await stream(model, usual)) == ["ab", "b a"]


@pytest.mark.parametrize(
    "wrong", [{"silence_duration_ms": 10}, {"prefix_padding_ms": -1}, {"threshold": "high"}]
)
async def test_utterances_that_cannot_be_cut_so(model: SpeechModel, wrong: Any) -> None:
    (response,) = await stream(model, [request(pcm(SOUND), sample_rate=RATE, **wrong)])
    assert said(response)["error_code"] == 400
    assert next(iter(wrong)) in said(response)["error"]


async def test_several_microphones_on_one_stream(model: SpeechModel) -> None:
    sounds = {"left": chunks(spell("ab")), "right": chunks(spell("b a"))}
    sent = []
    for number in range(max(map(len, sounds.values()))):
        for name, parts in sounds.items():
            if number < len(parts):
                flags = {"sequence_start": number == 0, "sequence_end": number == len(parts) - 1}
                sent.append(request(parts[number], sample_rate=16_000, sequence_id=name, **flags))
    found = {
        said(each)["sequence_id"]: texts(each)[0]
        for each in await stream(model, sent)
        if said(each)["final"]
    }
    assert found == {"left": "ab", "right": "b a"}
    assert len(model.sequences) == 0


async def test_a_sequence_over_several_unary_calls(model: SpeechModel) -> None:
    parts = chunks(spell("ab"), 0.5)
    for number, part in enumerate(parts):
        flags = {"sequence_id": 7, "sequence_start": number == 0}
        response = await model.predict(request(part, sample_rate=16_000, **flags))
        assert "final" not in said(response) or not said(response)["final"]
    last = await model.predict(request([b"1"], sequence_id=7, sequence_end=True))
    assert texts(last) == ["ab"]
    assert said(last)["final"] is True


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        (request([b"hello, this is text"]), 422, "Recording 0 .* it is not audio: send WAV"),
        (request([wav(SOUND), b"hello, this is text"]), 422, "Recording 1 .* not audio"),
        (request([wav(silence(0))]), 422, "has no samples"),
        (request([b""]), 422, "has no samples"),
        (request([]), 400, "1 to 8 recordings, not 0"),
        (request([b"x"] * 9), 400, "1 to 8 recordings, not 9"),
        (request(["not base64!"]), 422, "neither a file's bytes nor base64"),
        (request(pcm(SOUND)), 400, "need the parameter 'sample_rate'"),
        (request(pcm(SOUND), sample_rate=0), 400, "'sample_rate' must be a whole number"),
        (request(pcm(SOUND), sample_rate="high"), 400, "'sample_rate' must be a whole number"),
        (request(np.zeros((2, 2, 2), np.int16), sample_rate=8000), 400, r"shape \[n\] or \[N, n\]"),
        (request(np.array([0, np.nan], np.float32), sample_rate=8000), 422, "sample 1 is not a"),
        (request(np.array([0, 9], np.float32), sample_rate=8000), 422, "within -1 to 1, but"),
        (request([wav(silence(31))]), 413, "more than 30 s of audio; send it in chunks"),
        (request([wav(SOUND)], outputs=["text"]), 400, "no output 'text'"),
        (request([wav(SOUND)], sequence_id=3), 400, "START flag"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_requests(
    model: SpeechModel, sent: InferenceRequest, status: int, says: str
) -> None:
    with pytest.raises(MLServerError, match=says) as caught:
        await model.predict(sent)
    assert caught.value.status_code == status
    assert str(caught.value).count("\n") == 0


async def test_another_datatype(model: SpeechModel) -> None:
    sent = request([b""])
    sent.inputs[0].datatype = "INT8"  # type: ignore[assignment]
    with pytest.raises(MLServerError, match="must be BYTES"):
        await model.predict(sent)


async def test_a_bad_chunk_costs_itself(model: SpeechModel) -> None:
    parts = [request(chunk, id="good", sample_rate=16_000) for chunk in chunks(SOUND)]
    bad = [
        request(np.array([np.inf], np.float32), id="bad", sample_rate=16_000),
        request(pcm(SOUND), id="bad", sample_rate=44_100),
        request([b"x", b"y"], id="bad"),
    ]
    with pytest.raises(MLServerError, match="rate was 16000 and cannot become 44100"):
        await stream(model, [*parts[:5], bad[1]])
    responses = await stream(model, [*parts[:5], bad[0], bad[2], *parts[5:]])
    failed = [each for each in responses if each.id == "bad"]
    assert [said(each)["error_code"] for each in failed] == [422, 400]
    assert finals(responses) == ["ab ba"]


async def test_a_stream_that_is_not_audio_ends_with_the_reason(model: SpeechModel) -> None:
    sent = [request([b"this is "]), request([b"no audio"]), request([b"at all"] * 1)]
    with pytest.raises(MLServerError, match="not audio") as caught:
        await stream(model, sent)
    assert caught.value.status_code == 422
    with pytest.raises(MLServerError, match="no samples"):
        await stream(model, [request(np.zeros(0, np.int16), sample_rate=16_000)])
    assert await stream(model, []) == []


async def test_a_sequence_that_is_not_audio_costs_itself(model: SpeechModel) -> None:
    good = [
        request(chunk, sample_rate=16_000, sequence_id="good", sequence_start=number == 0)
        for number, chunk in enumerate(chunks(SOUND))
    ]
    end = request([b""], sequence_id="good", sequence_end=True)
    text = b"this is no audio " * 20
    bad = request([text], id="bad", sequence_id="bad", sequence_start=True)
    more = request([b"at all"], id="bad", sequence_id="bad", sequence_end=True)
    responses = await stream(model, [bad, *good, more, end])
    errors = [said(each)["error"] for each in responses if each.id == "bad"]
    assert "not audio" in errors[0]
    assert errors[1].startswith("This recording failed before")
    assert finals(responses) == ["ab ba"]


async def test_hang_up_in_the_middle_frees_everything(model: SpeechModel) -> None:
    async def endless() -> AsyncIterator[InferenceRequest]:
        while True:
            for chunk in chunks(spell("ab")):
                yield request(chunk, sample_rate=16_000)

    responses: Any = model.predict_stream(endless())
    async with aclosing(responses):
        async for _ in responses:
            break
    assert model._recordings == 0
    assert texts(await model.predict(request([wav(SOUND)]))) == ["ab ba"]


async def test_too_many_recordings(model: SpeechModel) -> None:
    many = [model.predict(request([wav(SOUND)] * 5)) for _ in range(2)]
    first, second = await asyncio.gather(*many, return_exceptions=True)
    assert texts(first) == ["ab ba"] * 5
    assert isinstance(second, MLServerError)
    assert second.status_code == 429


async def test_a_decoder_that_dies_costs_an_utterance(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying:
        async def feed(self, samples: Any, paused: bool = False) -> str:
            raise DecoderDiedError("gone")

        def close(self) -> None:
            pass

    monkeypatch.setattr(model._hearing._engine, "open", Dying)
    sent = [
        request(chunk, id=str(number), sample_rate=16_000)
        for number, chunk in enumerate(chunks(TWO))
    ]
    responses = await stream(model, sent)
    errors = [said(each) for each in responses if "error" in said(each)]
    assert [each["error_code"] for each in errors] == [503, 503]
    assert "its final comes from another process" in errors[0]["error"]
    assert finals(responses) == ["ab", "b a"]


EXTRA = r"Model 'speech-model' needs the extra 'speech': pip install 'mlserver-streaming\[speech\]'"
WEIGHTS = (
    "Model 'speech-model' needs the weights in the package 'moonshine-voice': "
    r"pip install --no-deps moonshine-voice==0\.0\.73"
)


@pytest.mark.parametrize(
    ("engine", "where", "says"),
    [
        ("pocketsphinx", "runtimes.speech.engines.find_spec", EXTRA),
        ("moonshine", "mlserver_streaming.weights.find_spec", WEIGHTS),
    ],
    ids=["extra", "weights"],
)
async def test_without_the_extra_or_the_weights_the_model_says_so(
    monkeypatch: pytest.MonkeyPatch, engine: str, where: str, says: str
) -> None:
    monkeypatch.setattr(where, lambda name: None)
    model = SpeechModel(settings(engine=engine))
    assert await model.load()
    with pytest.raises(MLServerError, match=f"^{says}$") as caught:
        await model.predict(request([wav(SOUND)]))
    assert caught.value.status_code == 501
    (response,) = await stream(model, [request([wav(SOUND)])])
    assert said(response)["error_code"] == 501
    await model.unload()


async def test_a_tone_alone_is_no_speech(tmp_path: Path) -> None:
    model = SpeechModel(settings(write_model(tmp_path)))
    await model.load()
    assert texts(await model.predict(request([wav(tone(2))]))) == [""]
    await model.unload()
