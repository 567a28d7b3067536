import pytest
from click.testing import CliRunner

from clients import demo, service
from clients.demo import PROMPT, main
from clients.errors import ClientError


async def give(*words):
    for word in words:
        yield word


async def test_the_words_are_checked_and_counted(capsys):
    summary = await demo._print_words("SSE: ", give("What is", PROMPT.removeprefix("What is")))
    assert summary.startswith("2 words in ")
    assert capsys.readouterr().out == f"SSE:  {PROMPT}\n"
    with pytest.raises(ClientError, match="are not the prompt"):
        await demo._print_words("SSE: ", give("What"))


async def test_without_the_weights_the_demo_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr("mlserver_streaming.weights.find_spec", lambda name: None)
    assert "pip install --no-deps moonshine-voice==" in await demo._stream_speech(1)


def test_a_service_that_does_not_start_shows_its_log(tmp_path, monkeypatch):
    # A project without settings or code to serve.
    monkeypatch.setattr(service, "PROJECT", tmp_path)
    (tmp_path / "settings.json").write_text("{")
    result = CliRunner().invoke(main, ["--results-dir", str(tmp_path / "results")])
    assert (result.exit_code, result.stdout) == (1, "Starting the service ...\n")
    *log, error = result.stderr.splitlines()
    assert error.startswith("Error: the service ended as it started, with status 1; see ")
    assert any("JSON" in line for line in log)


def test_a_bad_video_is_told_before_anything_starts(tmp_path):
    results = tmp_path / "results"
    result = CliRunner().invoke(main, ["--video", "nothing.mp4", "--results-dir", str(results)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no file nothing.mp4\n"
    assert not results.exists()
