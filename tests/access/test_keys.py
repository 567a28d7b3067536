"""`python -m mlserver_streaming.access.keys`: a secret is shown once and kept nowhere."""

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlserver_streaming.access.keys import PREFIX, main
from mlserver_streaming.access.keys_file import KeysFile, parse_keys
from tests.forked import ForkedProcess

ROOT = Path(__file__).resolve().parents[2]
KEYS = (sys.executable, "-m", "mlserver_streaming.access.keys")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--file", str(path)])


def test_a_key_is_printed_alone_and_only_its_hash_is_kept(path: Path) -> None:
    command = [
        *KEYS,
        "add",
        "cam",
        "--role",
        "infer",
    ]
    done = subprocess.run(
        [*command, "--file", str(path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    secret = done.stdout.removesuffix("\n")
    assert secret.startswith(PREFIX)
    assert len(secret) > 40
    assert not set(secret) & set(" \n")
    assert secret not in done.stderr
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    caller = KeysFile(str(path)).find(secret)
    assert caller is not None
    assert (caller.name, caller.roles, caller.models) == ("cam", {"infer"}, None)
    assert [each.name for each in path.parent.iterdir()] == ["keys.json"]


def test_all_that_a_key_can_say(path: Path) -> None:
    done = run(
        path,
        *("add", "ops", "--role", "admin", "--role", "infer"),
        *("--model", "m", "--model", "n", "--expires", "2030-01-31"),
    )
    assert done.exit_code == 0
    (key,) = parse_keys(path.read_bytes())
    assert (key.roles, key.models) == (("admin", "infer"), ("m", "n"))
    assert key.expires == datetime(2030, 1, 31, 23, 59, 59, tzinfo=UTC)
    listed = run(path, "list").output
    assert listed == "ops\tadmin,infer\tm,n\tuntil 2030-01-31T23:59:59+00:00\n"
    assert key.sha256 not in listed


def test_keys_come_and_go(path: Path) -> None:
    secrets = [run(path, "add", name, "--role", "infer").stdout.strip() for name in "abc"]
    assert len(set(secrets)) == 3
    assert run(path, "remove", "b").exit_code == 0
    file = KeysFile(str(path))
    assert [file.find(secret) is not None for secret in secrets] == [True, False, True]
    names = [line.split("\t")[0] for line in run(path, "list").output.splitlines()]
    assert names == ["a", "c"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "a", "--role", "infer"], "There is a key 'a'"),
        (["remove", "z"], "There is no key 'z'"),
        (["add", "b", "--role", "infer", "--expires", "soon"], "'soon' is no date"),
        (["add", "b", "--role", "infer", "--expires", "2030-13-01"], "'2030-13-01' is no date"),
        (["add", "a b", "--role", "infer"], "name 'a b'"),
        (["add", "b", "--role", "root"], "'root' is not one of"),
        (["add", "b"], "Missing option '--role'"),
    ],
)
def test_what_cannot_be_done_leaves_the_file(path: Path, arguments: list[str], said: str) -> None:
    run(path, "add", "a", "--role", "infer")
    before = path.read_bytes()
    done = run(path, *arguments)
    assert done.exit_code != 0
    assert said in done.stderr
    assert done.stdout == ""
    assert path.read_bytes() == before


@pytest.mark.parametrize("command", [["add", "b", "--role", "infer"], ["list"], ["remove", "b"]])
def test_garbage_is_not_overwritten(path: Path, command: list[str]) -> None:
    path.write_text("garbage")
    done = run(path, *command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "is not a file of keys" in done.stderr
    assert path.read_text() == "garbage"


def test_a_file_that_others_may_read_stays_so_and_a_link_stays_a_link(path: Path) -> None:
    target = path.with_name("real.json")
    target.write_text("[]")
    target.chmod(0o640)
    os.symlink("real.json", path)
    assert run(path, "add", "a", "--role", "infer").exit_code == 0
    assert path.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert json.loads(target.read_text())[0]["name"] == "a"


def add(path: Path, name: str) -> None:
    main(["add", name, "--role", "infer", "--file", str(path)])


def test_two_at_once_lose_no_key(path: Path) -> None:
    path.write_text("[]")
    names = [f"k{index}" for index in range(4)]
    adding = [ForkedProcess(target=add, args=(path, name)) for name in names]
    for each in adding:
        each.start()
    assert [each.wait(60) for each in adding] == [0] * 4
    assert {key.name for key in parse_keys(path.read_bytes())} == set(names)


@pytest.mark.parametrize("expires", ["2020-01-01", "2020-01-01T12:00:00Z", "2020-01-01T12:00"])
def test_a_key_that_is_over_before_it_is_made_is_refused(path: Path, expires: str) -> None:
    done = run(path, "add", "late", "--role", "infer", "--expires", expires)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"Error: '{expires}' is over already; name a later day or moment.\n"
    assert not path.exists()


def test_a_key_may_still_end_today(path: Path) -> None:
    today = datetime.now(UTC) + timedelta(hours=1)
    assert run(path, "add", "a", "--role", "infer", "--expires", today.isoformat()).exit_code == 0


def test_a_key_cannot_be_named_as_a_token_is_shown(path: Path) -> None:
    done = run(path, "add", "jwt:bob", "--role", "infer")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: Names that begin with 'jwt:' are those of tokens; take another.\n"
