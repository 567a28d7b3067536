"""Keys: which are known, until when, and what a file of them must be."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlserver_streaming.access import keys_file
from mlserver_streaming.access.callers import Caller
from mlserver_streaming.access.keys_file import KeysFile, digest, parse_keys
from mlserver_streaming.errors import UnauthenticatedError


def entry(name: str, secret: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"name": name, "sha256": digest(secret or name).hex(), "roles": ["infer"], **fields}


def keys(folder: Path, *entries: dict[str, Any]) -> KeysFile:
    path = folder / "keys.json"
    path.write_text(json.dumps(entries))
    return KeysFile(str(path))


def test_a_key_is_its_caller(tmp_path: Path) -> None:
    file = keys(
        tmp_path,
        entry("first", "sesame"),
        entry("second", "mustard", roles=["admin", "infer"], models=["m", "n"]),
    )
    assert file.find("sesame") == Caller("first", frozenset({"infer"}))
    assert file.find("mustard") == Caller(
        "second", frozenset({"admin", "infer"}), frozenset({"m", "n"})
    )
    for wrong in ("", "first", "Sesame", "sesame ", "s\udcff", "sésame", digest("sesame").hex()):
        assert file.find(wrong) is None
    assert keys(tmp_path).find("sesame") is None


@pytest.mark.parametrize(("hours", "known"), [(1, True), (-1, False)])
def test_a_key_expires(tmp_path: Path, hours: int, known: bool) -> None:
    expires = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
    file = keys(tmp_path, entry("guest", "sesame", expires=expires))
    if known:
        assert file.find("sesame")
        return
    with pytest.raises(UnauthenticatedError, match=r"^The key 'guest' has expired\.$"):
        file.find("sesame")


@pytest.mark.parametrize("secret", ["k0", "k4", "k9", "unknown"])
def test_every_key_is_compared_whichever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    file = keys(tmp_path, *(entry(f"k{index}") for index in range(10)))
    compared: list[bytes] = []
    compare = keys_file.hmac.compare_digest

    def count(known: bytes, asked: bytes) -> bool:
        compared.append(known)
        return compare(known, asked)

    monkeypatch.setattr(keys_file.hmac, "compare_digest", count)
    file.find(secret)
    assert compared == [digest(f"k{index}") for index in range(10)]


@pytest.mark.parametrize(
    "spoilt",
    [
        "sesame",
        {"name": "sesame"},
        ["sesame"],
        [entry("sesame") | {"sha256": "sesame"}],
        [entry("sesame") | {"sha256": digest("a").hex().upper()}],
        [entry("a", roles=["sesame"])],
        [entry("a", roles=[])],
        [entry("a", roles="infer")],
        [entry("a", expires="sesame")],
        [entry("a", expires="2027-01-31T00:00:00")],
        [entry("a", models="sesame")],
        [{**entry("a"), "secret": "sesame"}],
        [entry("", "sesame")],
        [entry("se\nsame")],
        [entry("a", "1"), entry("a", "2")],
        [entry("a", "1"), entry("b", "1")],
        [{**entry("a"), "roles": None}],
    ],
)
def test_what_is_no_file_of_keys_says_so_and_quotes_nothing(spoilt: Any) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse_keys(json.dumps(spoilt).encode())
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_json_says_so() -> None:
    with pytest.raises(ValueError, match="Invalid JSON"):
        parse_keys(b"[sesame")
