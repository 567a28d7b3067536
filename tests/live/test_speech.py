"""speech-model behind a real service: both protocols, both clients, processes that are killed."""

import asyncio
import base64
import json
import os
import select
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from clients.server import Server
from clients.server_process import HOST
from clients.speech.audio_source import Clip
from clients.speech.grpc_speech import GrpcSpeech
from clients.speech.heard import Heard
from clients.speech.http_speech import HttpSpeech
from clients.speech.mode import every_mode
from clients.speech.run import run_mode
from clients.speech_client import main
from tests.audio.sounds import (
    RATE,
    clips,
    coded,
    index_first,
    needs_speech,
    pcm,
    reading,
    silence,
    tone,
    wav,
)
from tests.live.conftest import make_folder
from tests.live.processes import children, workers
from tests.live.service import Service

# A bound for what would hang otherwise, not a timing.
PATIENCE = 60


def grpc(service: Service) -> GrpcSpeech:
    return GrpcSpeech(Server(HOST, service.grpc), "speech-model", PATIENCE)


def http(service: Service) -> HttpSpeech:
    return HttpSpeech(Server(HOST, service.http), "speech-model", PATIENCE)


def sphinx_folder(folder: Path) -> Path:
    """A folder with one model: speech-model, heard by pocketsphinx's processes."""
    make_folder(folder)
    for path in (folder / "model-settings").glob("*/model-settings.json"):
        if path.parent.name != "speech-model":
            path.unlink()
            continue
        settings = json.loads(path.read_text())
        settings["parameters"]["extra"]["engine"] = "pocketsphinx"
        path.write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def sphinx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = sphinx_folder(tmp_path_factory.mktemp("sphinx"))
    with Service(folder, folder / "server.log") as running:
        yield running


def decoders(service: Service) -> list[int]:
    """The processes in which the service, or its workers, decode."""
    return [
        pid
        for parent in (service.process.pid, *workers(service))
        for pid, command in children(parent).items()
        if b"pocketsphinx_worker" in command
    ]


async def pieces(data: bytes, count: int = 20) -> AsyncIterator[bytes]:
    size = len(data) // count // 2 * 2 + 2  # whole samples
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def finals(heard: AsyncIterator[Heard]) -> dict[int, str]:
    found: dict[int, str] = {}
    async for each in heard:
        assert each.error is None
        if each.final:
            found[each.recording] = f"{found.get(each.recording, '')} {each.text}".strip()
    return found


def infer(
    service: Service, call: str, data: Any, datatype: str = "BYTES", **parameters: Any
) -> Any:
    tensor = {"name": "audio", "datatype": datatype, "shape": [len(data)], "data": data}
    body = {"inputs": [tensor], "parameters": parameters}
    url = f"{service.url}/v2/models/speech-model/{call}"
    return httpx.post(url, json=body, timeout=PATIENCE)


async def test_silence_and_tones_have_no_words(service: Service) -> None:
    sounds = [wav(silence(5)), coded(tone(1), "flac", "flac")]
    async with grpc(service) as calls:
        assert await calls.infer(sounds) == ["", ""]
        samples = pcm(silence(1)).tobytes()
        assert await finals(calls.stream([pieces(samples)], 16_000)) == {}
    async with http(service) as calls:
        assert await calls.infer(sounds) == ["", ""]
        assert await finals(calls.stream([pieces(sounds[0])])) == {}


@pytest.mark.parametrize(
    ("data", "datatype", "parameters", "status", "says"),
    [
        ([base64.b64encode(b"hello, this is text").decode()], "BYTES", {}, 422, "not audio"),
        (["x"] * 9, "BYTES", {}, 422, "base64"),
        ([0] * 100, "INT16", {"sample_rate": 0}, 400, "'sample_rate'"),
        ([0.5, None], "FP32", {"sample_rate": 8000}, 422, "not a finite number"),
        ([], "INT16", {"sample_rate": 8000}, 422, "no samples"),
        ([0] * 100, "INT8", {}, 400, "must be BYTES"),
    ],
)
def test_bad_input_is_one_sentence(
    service: Service, data: Any, datatype: str, parameters: Any, status: int, says: str
) -> None:
    for call in ("infer", "infer_stream"):
        response = infer(service, call, data, datatype, **parameters)
        assert response.status_code == status
        assert list(response.json()) == ["error"]
        assert says in response.json()["error"]


async def test_the_same_words_in_every_mode_of_the_client(service: Service) -> None:
    sound = reading(24.4)
    parts = [sound[: round(4.9 * RATE)], sound[21 * RATE :]]
    read = [Clip("", wav(part), len(part) / RATE) for part in parts]
    reports = []
    for mode in every_mode():
        async with grpc(service) if mode.protocol == "grpc" else http(service) as calls:
            reports.append(await run_mode(calls, read, mode))
    assert reports[0].transcripts[0] == "It was the best of times, it was the worst of times."
    assert reports[0].transcripts[1].startswith("We had everything before us")
    assert [report.transcripts for report in reports] == [reports[0].transcripts] * 14
    assert [report.errors for report in reports] == [{}] * 14


def test_words_have_no_times_that_the_engine_does_not_know(service: Service) -> None:
    spoken = base64.b64encode(wav(reading(4.9))).decode()
    audio = {"name": "audio", "datatype": "BYTES", "shape": [1], "data": [spoken]}
    body = {"inputs": [audio], "outputs": [{"name": "transcript"}, {"name": "words"}]}
    url = f"{service.url}/v2/models/speech-model/infer"
    said = httpx.post(url, json=body, timeout=PATIENCE).json()
    found = {output["name"]: output["data"][0] for output in said["outputs"]}
    words = json.loads(found["words"])
    assert " ".join(word["word"] for word in words) == found["transcript"]
    assert {tuple(word) for word in words} == {("word", "confidence")}
    assert 1 < said["parameters"]["start"] < said["parameters"]["end"] < 4.9


@needs_speech
async def test_the_same_words_over_every_way(service: Service) -> None:
    (one, _), (other, _) = clips()[1], clips()[4]
    async with grpc(service) as calls:
        texts = await calls.infer([one, other])
        assert texts[0].startswith("He was not")
        # Two microphones on one stream.
        both = await finals(calls.stream([pieces(one), pieces(other)]))
        assert both == dict(enumerate(texts))
        assert await finals(calls.stream([pieces(one[44:])], 16_000)) == {0: texts[0]}
    async with http(service) as calls:
        assert await calls.infer([other]) == texts[1:]
        assert await finals(calls.stream([pieces(one)])) == {0: texts[0]}


@needs_speech
@pytest.mark.parametrize("kind", ["wav", "index last", "index first", "adts"])
async def test_a_stereo_recording_with_a_channel_upside_down(service: Service, kind: str) -> None:
    data, _ = clips()[1]
    sound = np.frombuffer(data[44:], np.int16).astype(np.float32) / 32768
    if kind == "wav":
        inverted = wav(sound, gains=(1, -1))
    else:
        inverted = coded(sound, "aac", "adts" if kind == "adts" else "ipod", gains=(1, -1))
    if kind == "index first":
        inverted = index_first(inverted)
    async with grpc(service) as calls:
        (text,) = await calls.infer([inverted])
        assert text.startswith("He was not")
        assert await finals(calls.stream([pieces(inverted)])) == {0: text}
        assert await finals(calls.stream([pieces(inverted, 777)])) == {0: text}
    async with http(service) as calls:
        assert await finals(calls.stream([pieces(inverted)])) == {0: text}


@needs_speech
async def test_a_killed_decoder_is_an_error_and_is_replaced(sphinx: Service) -> None:
    service = sphinx
    (data, _) = clips()[0]
    killed: list[int] = []
    heard: list[Heard] = []
    partial = asyncio.Event()

    async def spoken() -> AsyncIterator[bytes]:
        parts = [part async for part in pieces(data, 60)]
        for part in parts[:40]:
            yield part
        await partial.wait()
        killed.extend(decoders(service))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        for part in parts[40:]:
            yield part

    async with grpc(service) as calls, asyncio.timeout(PATIENCE):
        async for each in calls.stream([spoken()]):
            heard.append(each)
            if each.text:
                partial.set()
        errors = [each.error for each in heard if each.error is not None]
        assert killed
        assert [error.code for error in errors] == [503]
        assert "died" in str(errors[0])
        # The words are not lost: another process hears the utterance as a whole.
        texts = [each.text for each in heard if each.final and each.error is None]
        assert await calls.infer([data]) == texts
    assert not set(killed) & set(decoders(service))


@needs_speech
async def test_hang_up_in_the_middle_of_a_word(service: Service) -> None:
    (data, _) = clips()[1]

    async def never_ends() -> AsyncIterator[bytes]:
        async for part in pieces(data):
            yield part
        await asyncio.Event().wait()

    async with grpc(service) as calls:
        stream = calls.stream([never_ends()])
        async for _ in stream:
            break
        await stream.aclose()
        assert (await calls.infer([data]))[0].startswith("He was not")


@needs_speech
def test_the_command(service: Service, tmp_path: Path) -> None:
    path, output = tmp_path / "clip.wav", tmp_path / "results.jsonl"
    path.write_bytes(clips()[1][0])
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"audio_filepath": "clip.wav", "text": "he was not an ill man"}')
    for switches in (["--port", str(service.grpc), "--streaming"], ["--port", str(service.http)]):
        protocol = ["--protocol", "http"] if len(switches) == 2 else []
        result = CliRunner().invoke(
            main, [*switches, *protocol, "--manifest", str(manifest), "--output", str(output)]
        )
        assert result.exit_code == 0, result.output
        assert "clip.wav: He was not" in result.output
        assert "WER" in result.output
        assert "He was not" in output.read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_service(tmp_path: Path, number: signal.Signals) -> None:
    folder = sphinx_folder(tmp_path / "service")
    with Service(folder, tmp_path / "log") as service:
        handles = [os.pidfd_open(pid) for pid in decoders(service)]
        assert handles
        service.process.send_signal(number)
        for handle in handles:
            ended, _, _ = select.select([handle], [], [], PATIENCE)
            os.close(handle)
            assert ended
