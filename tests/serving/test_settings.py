"""The "streaming" block: checked when the service starts, one line for each mistake."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.settings import StreamingSettings

ROOT = Path(__file__).resolve().parents[2]


def read(folder: Path, block: Any = None) -> StreamingSettings:
    if block is not None:
        whole = {"debug": False, "streaming": block}
        (folder / "settings.json").write_text(json.dumps(whole))
    return StreamingSettings.read(str(folder))


def complaint(folder: Path, block: Any = None) -> str:
    with pytest.raises(SystemExit) as caught:
        read(folder, block)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in StreamingSettings.model_fields:
        monkeypatch.delenv(f"STREAMING_{name.upper()}", raising=False)


def test_without_a_file_or_a_block_there_are_defaults(tmp_path: Path) -> None:
    expected = StreamingSettings()
    assert read(tmp_path) == expected
    (tmp_path / "settings.json").write_text("{}")
    assert read(tmp_path) == expected
    assert read(tmp_path, {}) == expected
    assert (expected.triton_port, expected.keepalive_seconds) == (None, 15)


def test_the_block_is_read(tmp_path: Path) -> None:
    settings = read(tmp_path, {"triton_port": 9001, "keepalive_seconds": 0.5})
    assert (settings.triton_port, settings.keepalive_seconds) == (9001, 0.5)
    assert read(tmp_path, {"triton_port": None}).triton_port is None


def test_the_shipped_settings_open_the_port_of_triton() -> None:
    assert StreamingSettings.read(str(ROOT)).triton_port == 8001


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_TRITON_PORT", "9002")
    monkeypatch.setenv("STREAMING_KEEPALIVE_SECONDS", "2.5")
    settings = read(tmp_path, {"triton_port": 9001, "first_response_grace_seconds": 1})
    assert settings.triton_port == 9002
    assert settings.keepalive_seconds == 2.5
    assert settings.first_response_grace_seconds == 1


def test_the_environment_can_close_the_port_of_triton(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_TRITON_PORT", "null")
    assert read(tmp_path, {"triton_port": 9001}).triton_port is None


@pytest.mark.parametrize("field", ["triton_prot", "keepalive"])
def test_an_unknown_field_is_named(tmp_path: Path, field: str) -> None:
    assert f'"streaming.{field}"' in complaint(tmp_path, {field: 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("triton_port", value) for value in (0, -1, 65_536, 8001.5, "high", [8001], {}, True)),
        *(
            ("keepalive_seconds", value)
            for value in (0, -1, 1e9, "often", None, [15], float("nan"), float("inf"), True)
        ),
        ("first_response_grace_seconds", 0),
        ("first_response_grace_seconds", None),
    ],
)
def test_an_impossible_value_or_a_wrong_type_is_named(
    tmp_path: Path, field: str, value: Any
) -> None:
    assert f'"streaming.{field}"' in complaint(tmp_path, {field: value})


def test_a_wrong_value_in_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_TRITON_PORT", "eight thousand")
    assert "triton_port" in complaint(tmp_path, {"triton_port": 9001})


@pytest.mark.parametrize("block", [[], "on", 1, True])
def test_a_block_that_is_no_object_is_named(tmp_path: Path, block: Any) -> None:
    assert complaint(tmp_path, block).startswith('"streaming" in settings.json must be an object')


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="frozen"):
        read(tmp_path).triton_port = 1


@pytest.mark.parametrize("name", StreamingSettings.model_fields)
def test_every_field_says_what_it_is(name: str) -> None:
    assert StreamingSettings.model_fields[name].description.endswith(".")
