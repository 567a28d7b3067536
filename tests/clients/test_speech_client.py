"""The speech client: switches, sources, the report, HTTP. The service itself: tests/live."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner

from clients.errors import ClientError, RefusedError, SourceError
from clients.server import Server
from clients.speech.audio_source import Clip, find_clips, paced
from clients.speech.http_speech import HttpSpeech
from clients.speech.mode import Mode, every_mode
from clients.speech.report import SpeechReport, table
from clients.speech.run import run_mode
from clients.speech_client import main
from tests.audio.sounds import coded, tone, wav

CLIPS = [Clip("one.wav", b"1", 2.0, "he was not"), Clip("two.wav", b"2", 2.0, "an ill man")]


@pytest.mark.parametrize(
    ("mode", "source", "says"),
    [
        (Mode("http", streaming=True, batch_size=2), None, "leave --batch-size at 1"),
        (Mode(realtime=True), None, "needs --streaming and --protocol grpc"),
        (Mode("http", streaming=True, realtime=True), None, "--realtime"),
        (Mode(), "microphone", "needs --streaming"),
        (Mode(streaming=True, batch_size=2), "-", "do not go with it"),
    ],
)
def test_switches_that_do_not_go_together(mode: Mode, source: str | None, says: str) -> None:
    with pytest.raises(click.UsageError, match=says):
        mode.check(source)


def test_every_mode_makes_sense() -> None:
    modes = every_mode()
    assert len(modes) == len(set(modes)) == 14
    for mode in modes:
        mode.check()


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(wav(tone(1)))
    (tmp_path / "a.flac").write_bytes(coded(tone(0.5), "flac", "flac"))
    (tmp_path / "notes.txt").write_text("not audio")
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"audio_filepath": "b.wav", "text": "beep"}\n\n')
    found = find_clips([tmp_path], manifest)
    assert [(clip.name, round(clip.seconds, 2), clip.text) for clip in found] == [
        ("a.flac", 0.5, None),
        ("b.wav", 1.0, None),
        ("b.wav", 1.0, "beep"),
    ]
    chunks = found[1].chunks(0.1)
    assert len(chunks) == 10
    assert b"".join(chunks) == found[1].data


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.wav", None, "cannot be read"),
        ("text.wav", b"no audio", "is not audio"),
        ("broken.jsonl", b"{", "line 1 of .* is not JSON"),
        ("empty.jsonl", b"\n", "is empty"),
        ("other.jsonl", b'{"path": "x"}', "audio_filepath"),
        ("folder", b"", "no audio files"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=says):
        if name.endswith(".jsonl"):
            find_clips([], path)
        else:
            find_clips([path], None)


async def test_chunks_at_once() -> None:
    assert [chunk async for chunk in paced([b"a", b"b"], 0)] == [b"a", b"b"]


def test_report() -> None:
    report = SpeechReport("grpc unary, batch 1", seconds=1.0)
    report.add(0, "He was not.")
    report.add(1, "an")
    report.add(1, "old man")
    report.finals += [0.1, 0.2]
    assert report.word_error_rate(CLIPS) == pytest.approx(1 / 6)
    assert report.row(CLIPS)[1:5] == ("2", "0", "0.167", "0.25")
    lines = [json.loads(line) for line in report.lines(CLIPS)]
    assert lines[1]["transcript"] == "an old man"
    assert lines[1]["text"] == "an ill man"
    assert "WER" in table([report], CLIPS).splitlines()[0]
    unknown = [Clip("x.wav", b"", 0.0)]
    assert SpeechReport("").row(unknown)[3:] == ("-", "-", "-", "-")


def test_words_are_compared_and_not_how_they_are_written() -> None:
    written = 'And Mr. Dashwood, "cold-hearted" \u2013 he\u2014was not.'
    said = "and mister dashwood cold hearted he was not"
    report = SpeechReport("")
    report.add(0, written)
    assert report.word_error_rate([Clip("x.wav", b"", 1.0, said)]) == 0


def http(answer: httpx.Response | Exception) -> HttpSpeech:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        head = int(request.headers["Inference-Header-Content-Length"])
        sent = json.loads(request.content[:head])
        size = sent["inputs"][0]["parameters"]["binary_data_size"]
        assert len(request.content) == head + size
        return answer

    transport = httpx.MockTransport(handle)
    return HttpSpeech(Server("h", 1), "m", 1, transport)


def event(text: str, final: bool) -> str:
    parameters = {"final": final, "utterance": 0, "end": 1.5}
    outputs = [{"name": "transcript", "shape": [1], "datatype": "BYTES", "data": [text]}]
    return f"data: {json.dumps({'parameters': parameters, 'outputs': outputs})}\n\n"


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_http_unary() -> None:
    outputs = [{"name": "transcript", "data": ["he", "was"]}]
    async with http(httpx.Response(200, json={"outputs": outputs})) as calls:
        assert await calls.infer([b"one", b"two"]) == ["he", "was"]
        report = await run_mode(calls, CLIPS, Mode("http", batch_size=2))
    assert report.transcripts == {0: "he", 1: "was"}


async def test_http_stream() -> None:
    body = event("he", False) + event("he was", True)
    headers = {"Content-Type": "text/event-stream"}
    async with http(httpx.Response(200, text=body, headers=headers)) as calls:
        report = await run_mode(calls, CLIPS[:1], Mode("http", streaming=True))
    assert report.transcripts == {0: "he was"}
    assert (len(report.partials), len(report.finals)) == (1, 1)


async def test_http_refused() -> None:
    answer = httpx.Response(422, json={"error": "not audio"})
    async with http(answer) as calls:
        with pytest.raises(RefusedError, match="the server answered 422: not audio"):
            await calls.infer([b""])
        for streaming in (False, True):
            report = await run_mode(calls, CLIPS, Mode("http", streaming=streaming))
            assert set(report.errors) == {0, 1}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (httpx.ConnectError("refused"), "nobody answers at h:1"),
        (httpx.ReadTimeout("late"), "no response from h:1 within 1 s"),
        (
            httpx.RemoteProtocolError("cut"),
            "h:1 gave no HTTP response: cut; if it",
        ),
    ],
)
async def test_http_broken(error: Exception, says: str) -> None:
    async with http(error) as calls:
        with pytest.raises(ClientError, match=says):
            await calls.infer([b""])
        with pytest.raises(ClientError, match=says):
            await run_mode(calls, CLIPS, Mode("http", streaming=True))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a file"),
        (["-", "x.wav"], "goes alone"),
        (["microphone"], "needs --streaming"),
        (["none.wav"], "cannot be read"),
        (["x", "--protocol", "http", "--streaming", "--batch-size", "3"], "leave --batch-size"),
        (["x", "--all-modes", "--port", "1"], "leave --port out"),
    ],
)
def test_command_line(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (1, 2)
    assert says in result.output
    assert "Traceback" not in result.output
