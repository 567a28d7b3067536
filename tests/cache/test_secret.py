"""The secret that seals answers: where it comes from, and that it is seen nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlserver_streaming.cli.report import Report
from mlserver_streaming.cli.secret_files import check_cache
from mlserver_streaming.secret import MAX_BYTES, secret_of
from mlserver_streaming.settings import StreamingSettings
from mlserver_streaming.settings_reference import reference

SECRET = "a secret of 16 characters and more"
MEMCACHED = {"backend": "memcached", "servers": ["127.0.0.1"]}
KEYED = {"keys_file": "keys.json"}
JWT = {"jwt": {"issuer": "https://i.example", "audience": "a", "jwks": "jwks.json"}}


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET", "SECRET_FILE"):
        monkeypatch.delenv(f"STREAMING_CACHE__{name}", raising=False)


def read(folder: Path, auth: Any = None, **cache: Any) -> StreamingSettings:
    block = {"cache": {**MEMCACHED, **cache}, "auth": auth or {}}
    (folder / "settings.json").write_text(json.dumps({"streaming": block}))
    return StreamingSettings.read(str(folder))


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(SystemExit) as caught:
        call(*arguments, **named)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("auth", [KEYED, JWT])
def test_with_keys_or_tokens_memcached_needs_a_secret(tmp_path: Path, auth: Any):
    line = refusal(read, tmp_path, auth)
    assert "answers in memcached must be sealed: set cache.secret or cache.secret_file" in line
    read(tmp_path, auth, secret=SECRET)
    read(tmp_path, auth, secret_file="secret")
    read(tmp_path, auth, backend="memory")
    read(tmp_path, None)


def test_the_secret_is_the_setting_s_the_file_s_or_none(tmp_path: Path):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    for settings in (
        read(tmp_path, KEYED, secret=SECRET),
        read(tmp_path, KEYED, secret_file="secret"),
        read(tmp_path, KEYED, secret_file=str(tmp_path / "secret")),
    ):
        assert secret_of(settings.cache, str(tmp_path)) == SECRET.encode()
    assert secret_of(read(tmp_path).cache, str(tmp_path)) == b""


@pytest.mark.parametrize("name", ["SECRET", "SECRET_FILE"])
def test_both_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    (tmp_path / "secret").write_text(SECRET)
    given = {"SECRET": SECRET, "SECRET_FILE": "secret"}[name]
    monkeypatch.setenv(f"STREAMING_CACHE__{name}", given)
    assert secret_of(read(tmp_path, KEYED).cache, str(tmp_path)) == SECRET.encode()


def test_a_short_secret_and_two_are_refused_in_a_line_without_them(tmp_path: Path):
    line = refusal(read, tmp_path, secret="tooshort")
    assert '"streaming.cache.secret"' in line
    assert "16 characters or more" in line
    assert "tooshort" not in line
    line = refusal(read, tmp_path, secret=SECRET, secret_file="secret")
    assert "set one" in line
    assert SECRET not in line


@pytest.mark.parametrize("content", [None, b"", b"tooshort\n", b"x" * (MAX_BYTES + 1)])
def test_a_file_that_holds_none_is_refused_in_a_line_that_names_it(
    tmp_path: Path, content: bytes | None
):
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    settings = read(tmp_path, KEYED, secret_file="secret")
    line = refusal(secret_of, settings.cache, str(tmp_path))
    assert f"secret_file {tmp_path / 'secret'}" in line
    assert "tooshort" not in line


def test_the_secret_is_seen_in_no_text_of_the_settings(tmp_path: Path):
    settings = read(tmp_path, KEYED, secret=SECRET)
    for text in (
        repr(settings),
        str(settings.cache),
        str(settings.model_dump()),
        settings.model_dump_json(),
        reference(),
    ):
        assert SECRET not in text


def test_check_says_whether_answers_are_sealed_and_not_with_what(tmp_path: Path):
    def said(**cache: Any) -> str:
        report = Report()
        check_cache(read(tmp_path, **cache).cache, tmp_path, report)
        return "\n".join(report.lines())

    assert "answers are not sealed" in said()
    sealed = said(secret=SECRET)
    assert "answers are sealed" in sealed
    assert SECRET not in sealed
    assert "secret_file" in said(secret_file="gone")
    assert "memcached" not in said(backend="memory")
