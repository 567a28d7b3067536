"""The "streaming" block: checked when the service starts, one line for each mistake."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from mlserver_streaming.settings import LimitSettings, StreamingSettings
from mlserver_streaming.settings_reference import reference

ROOT = Path(__file__).resolve().parents[1]
COUNTS = ("streams", "streams_per_model", "streams_per_key", "buffered_responses", "sequences")


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
    for name in os.environ:
        if name.startswith("STREAMING_"):
            monkeypatch.delenv(name)


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
        *(("drain_seconds", value) for value in (-1, 86_401, True, float("nan"))),
        *((f"limits.{name}", value) for name in COUNTS for value in (0, -1, 1.5, True, 10**9)),
        *(("limits.waiting", value) for value in (-1, True, None)),
        *(("limits.request_bytes", value) for value in (0, 1023, 2**31, True, None)),
        *(("limits.stream_idle_seconds", value) for value in (0, None, True, "long")),
        ("limits.sequence_idle_seconds", 0),
        ("limits.strems", 1),
        ("limits", None),
        ("limits", [1]),
        ("auth.keys_file", 1),
        ("auth.jwt.issuer", None),
    ],
)
def test_an_impossible_value_or_a_wrong_type_is_named(
    tmp_path: Path, field: str, value: Any
) -> None:
    assert f'"streaming.{field}"' in complaint(tmp_path, nested(field, value))


def nested(field: str, value: Any) -> dict[str, Any]:
    """A block with nothing in it but this field."""
    name, _, rest = field.partition(".")
    return {name: nested(rest, value) if rest else value}


def test_a_nested_field_comes_from_the_file_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = {"limits": {"streams": 7, "waiting": 8}}
    found = read(tmp_path, block).limits
    assert (found.streams, found.waiting, found.streams_per_key) == (7, 8, None)
    monkeypatch.setenv("STREAMING_LIMITS__STREAMS", "9")
    monkeypatch.setenv("STREAMING_LIMITS__STREAMS_PER_KEY", "3")
    monkeypatch.setenv("STREAMING_LIMITS__STREAM_SECONDS", "null")
    found = read(tmp_path, block).limits
    assert (found.streams, found.waiting, found.streams_per_key) == (9, 8, 3)
    assert found.stream_seconds is None


def test_a_whole_nested_block_can_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("issuer", "audience", "jwks"):
        monkeypatch.setenv(f"STREAMING_AUTH__JWT__{name.upper()}", f"the {name}")
    found = read(tmp_path, {}).auth.jwt
    assert found is not None
    assert (found.issuer, found.audience, found.jwks) == ("the issuer", "the audience", "the jwks")


@pytest.mark.parametrize(
    ("variable", "field"), [("LIMITS__STREAMS", "streams"), ("LIMITS__STREMS", "strems")]
)
def test_a_wrong_nested_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, field: str
) -> None:
    monkeypatch.setenv(f"STREAMING_{variable}", "many")
    assert f'"streaming.limits.{field}"' in complaint(tmp_path, {})


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"tls": {"certificate": "a"}}, "certificate and key go together"),
        ({"tls": {"client_ca": "a"}}, "client_ca needs a certificate"),
        ({"auth": {"protect_metrics": True}}, "protect_metrics needs"),
        (
            {
                "auth": {
                    "jwt": {"issuer": "i", "audience": "a", "jwks": "j", "algorithms": ["none"]}
                }
            },
            "algorithm 'none'",
        ),
    ],
)
def test_what_does_not_go_together_is_said(
    tmp_path: Path, block: dict[str, Any], said: str
) -> None:
    assert said in complaint(tmp_path, block)


def test_the_reference_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == reference()


def test_the_reference_has_every_setting_of_the_issue() -> None:
    found = set(re.findall(r"^\| `([\w.]+)` \|", reference(), re.MULTILINE))
    assert {f"limits.{name}" for name in LimitSettings.model_fields} < found
    assert {"triton_port", "drain_seconds", "auth.jwt.jwks", "tls.client_ca"} < found


def test_every_variable_of_the_reference_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that no field takes is refused, so its variable was read."""
    for name, variable in re.findall(
        r"^\| `([\w.]+)` \|.* `(STREAMING_\w+)` \|", reference(), re.MULTILINE
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, '{"no": "such"}')
            if "no" not in str(getattr_path(name, tmp_path)):
                pytest.fail(f"{variable} is not read")


def getattr_path(name: str, folder: Path) -> object:
    """The field's value, or the complaint about it."""
    try:
        found: Any = read(folder, {})
    except SystemExit as complaint:
        return f"no: {complaint}"
    for part in name.split("."):
        found = getattr(found, part)
    return found


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


@pytest.mark.parametrize("row", reference().splitlines()[9:])
def test_every_field_says_what_it_is(row: str) -> None:
    assert re.fullmatch(r"\| `[\w.]+` \|.*\| `STREAMING_\w+` \| [A-Z`].*\. \|", row)


@pytest.mark.parametrize(
    "variable",
    ["STREAMING_AUTH_KEYS_FILE", "STREAMING_DRAIN", "STREAMING_LIMIT__STREAMS", "streaming_drain"],
)
def test_a_variable_that_is_no_setting_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "keys.json")
    assert f"the environment variable {variable};" in complaint(tmp_path)


def test_what_kubernetes_sets_for_a_service_of_this_name_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STREAMING", "STREAMING_API"):
        for end in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT"):
            monkeypatch.setenv(f"{name}_{end}", "tcp://10.0.0.11:8080")
        for end in ("", "_PROTO", "_PORT", "_ADDR"):
            monkeypatch.setenv(f"{name}_PORT_8080_TCP{end}", "tcp://10.0.0.11:8080")
    assert read(tmp_path) == StreamingSettings()


def cache(folder: Path, **block: Any) -> Any:
    return read(folder, {"cache": block}).cache


def test_memcached_servers_are_hosts_and_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cache(tmp_path, servers=["a:1", "b", "[::1]:2", "[fe80::1]"])
    assert found.addresses == [("a", 1), ("b", 11211), ("::1", 2), ("fe80::1", 11211)]
    monkeypatch.setenv("STREAMING_CACHE__SERVERS", '["c:3"]')
    assert cache(tmp_path).addresses == [("c", 3)]


@pytest.mark.parametrize("server", ["", ":1", "a:", "a:0", "a:70000", "a b:1", "a:one"])
def test_a_memcached_server_that_is_none_is_named(tmp_path: Path, server: str) -> None:
    assert "cache.servers" in complaint(tmp_path, {"cache": {"servers": [server]}})


def test_memcached_needs_servers(tmp_path: Path) -> None:
    assert "needs servers" in complaint(tmp_path, {"cache": {"backend": "memcached"}})
    assert "cache.backend" in complaint(tmp_path, {"cache": {"backend": "redis"}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "is no JSON: Expecting"),
        (b"", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "must hold a JSON object"),
        (b"null", "must hold a JSON object"),
    ],
)
def test_a_file_that_is_no_json_object_is_one_line(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "settings.json").write_bytes(text)
    line = complaint(tmp_path)
    assert said in line
    assert "settings.json" in line


def test_there_is_room_for_the_largest_request_beside_another(tmp_path: Path) -> None:
    line = complaint(tmp_path, {"limits": {"request_bytes": 4096, "unread_bytes": 8191}})
    assert "'unread_bytes' must be at least twice 'request_bytes'" in line
    assert LimitSettings(request_bytes=4096, unread_bytes=8192).most_unread_bytes == 8192
    assert LimitSettings().most_unread_bytes == 1024**3
    assert LimitSettings(request_bytes=1024**3).most_unread_bytes == 2 * 1024**3
