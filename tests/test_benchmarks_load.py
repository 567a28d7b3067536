"""The paced load generator: its clock purely, the program against the real service."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner, Result
from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb

from benchmarks.inputs.triton_dialect import split_reply
from benchmarks.load import main as load_command
from benchmarks.loads.http_wire import EventSplitter, error_text
from benchmarks.loads.pace import Anchor, Pace, Paced, StreamLog, TokenClock, find_most
from benchmarks.report.paced_table import as_table
from tests.live.conftest import make_folder
from tests.live.service import Service
from tests.live.warm import WarmService

ROOT = Path(__file__).resolve().parents[1]


def test_items_are_due_by_the_clock() -> None:
    pace = Pace(streams=4, rate=25, seconds=2, ramp=1)
    assert [pace.begin(stream) for stream in range(4)] == [0, 0.25, 0.5, 0.75]
    assert pace.due(0, 25) == 1
    assert pace.due(2, 5) == pytest.approx(0.7)
    assert pace.items(0) == 51 and pace.items(2) == 38


def test_tokens_late_from_the_request_or_from_the_first() -> None:
    times = [0.5, 0.75, 1.5]  # asked at 0, four a second expected
    by_request, by_first = StreamLog(), StreamLog()
    for log, anchor in ((by_request, "request"), (by_first, "first")):
        clock = TokenClock(log, 4.0, 0.0, cast(Anchor, anchor))
        for at in times:
            clock.token(at)
        clock.cut(1.6)
        assert log.first == [0.5]
    # Due at 0, .25, .5 and .75, 1, 1.25, 1.5 the missing ones.
    assert by_request.late == pytest.approx([0.5, 0.5, 1.0, 0.85, 0.6, 0.35, 0.1])
    assert by_request.missing == 4
    # Due at .5, .75, 1 and 1.25, 1.5.
    assert by_first.late == pytest.approx([0, 0, 0.5, 0.35, 0.1])
    assert by_first.missing == 2


def test_a_stream_that_never_begins_is_one_missing_token() -> None:
    log = StreamLog()
    TokenClock(log, 30.0, 1.0, "first").cut(3.0)
    assert log.missing == 1 and log.late == [2.0]


def paced(late: float, errors: dict[str, int] | None = None) -> Paced:
    log = StreamLog(late=[late], first=[0.002], answered=1, errors=Counter(errors or {}))
    return Paced.of(Pace(2, 30, 1, 0), [log], [0.001], 0.5)


def test_what_fits() -> None:
    assert paced(0.1).fits(0.1)
    assert not paced(0.2).fits(0.1)
    assert not paced(0.0, {"503: full": 1}).fits(0.1)
    nothing = Paced.of(Pace(2, 30, 1, 0), [], [], 0.0)
    assert not nothing.fits(0.1)


@pytest.mark.parametrize("capacity", [0, 1, 3, 7, 8, 40, 100, 1000])
def test_the_most_that_fit_is_found_within_a_tenth(capacity: int) -> None:
    tried = []

    async def fits(streams: int) -> bool:
        tried.append(streams)
        return streams <= capacity

    found = asyncio.run(find_most(fits, start=8, most=512))
    wanted = min(capacity, 512)
    assert found <= wanted and wanted - found <= max(1, 0.1 * wanted)
    assert max(tried) <= 512 and len(tried) <= 12


def test_events_apart_from_comments_and_across_pieces() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n\n: keep-alive\n\nda") == [b"data: 1"]
    assert splitter.feed(b"ta: 2\n\nevent: error\ndata: {}\r\n\r\n") == [
        b"data: 2",
        b"event: error\ndata: {}",
    ]


def test_errors_in_each_server_s_words() -> None:
    assert error_text(b'{"error": "no model"}') == "no model"
    assert error_text(b'{"detail": "Not Found"}') == "Not Found"
    assert error_text(b"<html>") == "<html>"
    assert error_text(b"") == "an error without a text"


def test_triton_s_replies() -> None:
    response = pb.ModelInferResponse(model_name="m", id="7").SerializeToString()
    wrapped = b"\x12" + bytes([len(response)]) + response
    assert split_reply(wrapped) == ("", response)
    assert split_reply(b"\x0a\x03bad" + wrapped) == ("bad", response)
    for broken in (wrapped[:-1], b"\x12", b"\xff" * 12):
        with pytest.raises(DecodeError):
            split_reply(broken)


def test_a_table_of_runs() -> None:
    lines = as_table([paced(0.0123, {"503: full": 2})]).splitlines()
    assert lines[2].startswith("| 2 | 1 | 1 | 0 | 12.3 | 12.3 | 12.3 | 2.0 | 2.0 | 1.0 | 50% |")
    assert lines[3] == "2 errors at 2 streams: 503: full"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = make_folder(tmp_path_factory.mktemp("load") / "service")
    with WarmService(folder, folder / "server.log") as running:
        yield running


def load(arguments: str) -> Result:
    """The command without a process of its own, which would spend its time importing."""
    return CliRunner().invoke(load_command, shlex.split(arguments))


def documented() -> list[str]:
    text = (ROOT / "README.md").read_text() + (ROOT / "benchmarks" / "README.md").read_text()
    return sorted(set(re.findall(r"^python -m benchmarks\.load .*$", text, re.MULTILINE)))


PORTS = {"grpc": "grpc", "triton": "triton", "sse": "http"}


@pytest.mark.parametrize("command", documented())
def test_the_load_generator_as_documented(command: str, server: Service, tmp_path: Path) -> None:
    wire = "triton" if "triton" in command else "grpc" if " frames" in command else "sse"
    port = str(getattr(server, PORTS[wire]))
    # Seconds and streams that a test has time for: a server that keeps up is not asked here.
    quick = f"--port {port} --seconds 0.5 --streams 1" + (" --rate 1000" * ("--find" in command))
    arguments = command.removeprefix("python -m benchmarks.load ")
    done = load(f"{arguments} {quick}".replace("found.json", str(tmp_path / "found.json")))
    assert done.exit_code == 0, done.output
    assert re.search(r"^\| 1 \| [1-9]", done.stdout, re.MULTILINE), done.stdout
    if "--find" in command:
        assert "streams at" in done.stdout and "1 streams: p99" in done.stderr
    if "--json" in command:
        found = json.loads((tmp_path / "found.json").read_text())
        assert found["wire"] == wire and found["runs"][0]["answered"] > 0


@pytest.mark.parametrize("wire", sorted(PORTS))
@pytest.mark.parametrize("what", ["frames", "tokens --parameter delay=0"])
def test_the_load_generator_on_every_wire(what: str, wire: str, server: Service) -> None:
    port = str(getattr(server, PORTS[wire]))
    done = load(f"{what} --wire {wire} --port {port} --seconds 0.5")
    assert done.exit_code == 0, done.output
    streams, answered = done.stdout.splitlines()[2].split("|")[1:3]
    assert streams.strip() == "1" and int(answered.replace(",", "")) > 5
    assert "error" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("tokens --wire sse --model nope", "404: There is no model 'nope' here"),
        ("frames --model nope", "NOT_FOUND: There is no model 'nope' here"),
        ("frames --file README.md", "it is not a JPEG"),
        ("tokens --wire triton --port {grpc}", "--wire grpc"),
        ("tokens --wire grpc --port {triton}", "--wire triton"),
        ("tokens --port 1", "127.0.0.1:1 cannot be measured: Connection refused"),
        ("tokens --tls", "does not speak TLS; leave --tls out"),
        ("tokens --parameter delay", "'delay' is not NAME=VALUE"),
        ("tokens --ca README.md", "README.md holds no CA certificate in PEM form"),
    ],
)
def test_the_load_generator_says_what_is_wrong(arguments: str, words: str, server: Service) -> None:
    ports = {"grpc": server.grpc, "triton": server.triton}
    command = arguments.format(**ports)
    if "--port" not in command:
        command += f" --port {server.grpc if 'frames' in command else server.http}"
    if "tokens" in command and "delay" not in command:
        command += " --parameter delay=0"
    done = load(f"{command} --seconds 0.3")
    assert done.exit_code != 0 and isinstance(done.exception, SystemExit), done.exception
    assert words in done.output


def test_the_load_generator_as_a_program() -> None:
    command = [sys.executable, "-m", "benchmarks.load", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "frames" in done.stdout and "tokens" in done.stdout
