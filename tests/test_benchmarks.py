"""`python -m benchmarks --quick` end to end: servers start, answers are checked, files come."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main as benchmarks
from benchmarks.contenders import peer_servers
from benchmarks.contenders.contender_settings import settings_table
from benchmarks.contenders.process import ContenderError, Usage, family
from benchmarks.contenders.started import started
from benchmarks.loads import plain_load
from benchmarks.loads.load_window import AnswerError
from benchmarks.loads.pace import Pace, Paced, StreamLog
from benchmarks.loads.plain_load import h2load_figures, whole, wrk_figures
from benchmarks.loads.samples import Sample, Spread, alternate, judged, percentile, ratio
from benchmarks.loads.sse_load import said
from benchmarks.report import machine, report
from benchmarks.report.overview import README_ROWS, verdict
from benchmarks.report.plots import bars, curves
from benchmarks.report.publish import BEGIN, END, MarkerError, publish
from benchmarks.report.publish import replace as replace_marked
from benchmarks.rows.measured import RATE, Target, measure_row
from benchmarks.rows.paced_rows import compared
from benchmarks.rows.rows import Found, PacedRow, Plan, Row
from benchmarks.rows.stock_model_rows import CALLS, body, is_right_stream, stock_model

ROOT = Path(__file__).resolve().parents[1]


def test_quick_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "fairness", "--quick", "--results", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "table.md").read_text()
    assert done.stdout.strip() == table.strip()
    assert "| ours / stock MLServer |" in table
    assert "| Triton | nvidia-pytriton 0.7.0 |" in table
    results = sorted(path.name for path in tmp_path.glob("*.json"))
    assert results == [f"fairness-{wire}-32-streams-at-once.json" for wire in ("grpc", "sse")]
    found = json.loads((tmp_path / results[0]).read_text())
    assert found["contenders"]["ours"]["medians"]["first_response_p99_ms"] > 0
    assert found["machine"]["mlserver"]


def test_quick_run_of_what_keys_metrics_and_tls_cost(tmp_path: Path) -> None:
    done = CliRunner().invoke(benchmarks, ["costs", "--quick", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    rows = (tmp_path / "table.md").read_text().partition("\n## costs")[2]
    assert rows.count("| keys + metrics / open, unmeasured |") == 4
    assert rows.count("| TLS / open, unmeasured |") == 4


def sample(responses: int) -> Sample:
    return Sample(responses, 2.0, responses * 10, 1.0, Usage(0.5, responses), (0.001, 0.003))


def test_figures() -> None:
    figures = sample(100).figures()
    assert figures["responses_per_second"] == 50
    assert figures["bytes_per_response"] == 10
    assert figures["client_cpu_percent"] == 50
    assert figures["server_cpu_us_per_response"] == 5000
    assert figures["faults_per_response"] == 1
    assert figures["first_response_p99_ms"] == 3


def test_percentile() -> None:
    values = list(range(1, 101))
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7.0


def test_contenders_take_turns_and_ratios_pair_their_windows() -> None:
    order = []

    def measure(name: str, rates: list[int]) -> Sample:
        order.append(name)
        return sample(rates.pop(0))

    ours, theirs = [100, 300, 200], [50, 100, 50]
    samples = alternate(3, {"a": lambda: measure("a", ours), "b": lambda: measure("b", theirs)})
    assert order == ["a", "b"] * 3
    found = ratio(samples, "a", "b", at_least=3.5)
    assert (found.spread.median, found.spread.low, found.spread.high) == (3, 2, 4)
    assert found.met is False


def test_ours_is_measured_beside_each_other_contender() -> None:
    clock = iter(range(100, 1000, 10))  # a machine that gets faster from window to window

    def measure() -> Sample:
        return sample(next(clock))

    samples = alternate(2, dict.fromkeys(["ours", "a", "b", "c"], measure), again="ours")
    order = sorted((each.turn, name) for name, found in samples.items() for each in found)
    assert [name for _, name in order] == ["a", "ours", "b", "c", "ours"] * 2
    assert ratio(samples, "ours", "a").spread.low == 160 / 150
    assert ratio(samples, "ours", "c").spread.high == 140 / 130
    assert ratio(samples, "c", "ours").spread.low == 130 / 140


def test_events_are_read_across_chunks() -> None:
    first, second = (
        b'data: {"outputs":[{"data":["a"]}]}\n\n',
        b'data: {"outputs":[{"data":[" b"]}]}\n\n',
    )
    body = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (first, second))
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
    assert said(answer) == "a b"


def test_what_wrk_and_h2load_say() -> None:
    assert wrk_figures("900 1500000 123456 0") == (900, 1.5, 123456, 0)
    said = (
        "finished in 1.00s, 1234.50 req/s, 391.20KB/s\n"
        "requests: 1235 total, 1267 started, 1235 done, 1230 succeeded, 5 failed, 5 errored, "
        "0 timeout\nstatus codes: 1235 2xx, 0 3xx, 0 4xx, 0 5xx\n"
        "traffic: 391.20KB (400594) total, 9.10KB (9324) headers (space savings 96.21%), "
        "340.32KB (348488) data\n"
    )
    assert h2load_figures(said) == (1230, 1.0, 400594, 348488, 5)
    assert h2load_figures(said.replace("1.00s", "250.00ms"))[1] == 0.25
    with pytest.raises(AnswerError, match="unable to connect"):
        wrk_figures("unable to connect to 127.0.0.1:1 Connection refused")
    with pytest.raises(AnswerError, match="no such host"):
        h2load_figures("no such host")
    assert (whole(0.2), whole(0.7), whole(2)) == (1, 1, 2)


def test_a_program_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_load.shutil, "which", lambda _: None)
    rows = stock_model(Plan(1, 1, tmp_path, {0}, {0}))
    assert [row.title for row in rows] == [call.title for call in CALLS]
    table = report.markdown(rows, machine.describe(), "1 round")
    assert table.count("h2load is not installed (`apt-get install wrk nghttp2-client`)") == 1
    assert table.count("wrk is not installed (`apt-get install wrk nghttp2-client`)") == 4
    assert "0 of 0 targets met" in table


def test_a_stream_is_right_when_each_word_is_an_event() -> None:
    def events(*words: str) -> bytes:
        found = [json.dumps({"outputs": [{"data": [word]}]}) for word in words]
        return "".join(f"data: {each}\n\n" for each in found).encode()

    assert is_right_stream("a b", events("a", " b"))
    assert not is_right_stream("a b", events("a"))
    assert not is_right_stream("a b", events("a", " b") + b"data: {")


def test_a_peer_that_fails_leaves_the_row_and_ours_ends_it() -> None:
    def fine() -> Sample:
        return sample(100)

    def wrong() -> Sample:
        raise ContenderError("not the prompt again:\n| b'' |")

    measures = {"ours": fine, "Triton": wrong}
    row = measure_row("text", "response", "", 2, measures, [Target("Triton", at_least=4)], {})
    assert len(row.samples["ours"]) == 2 and "Triton" not in row.samples
    assert row.ratios == ()
    assert row.absent == {"Triton": "not the prompt again: / b'' /"}
    with pytest.raises(ContenderError):
        measure_row("text", "response", "", 1, {"ours": wrong}, [], {})


def test_a_peer_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_servers, "ENVIRONMENTS", tmp_path)
    starts = {"KServe": peer_servers.kserve, "hand-written": peer_servers.by_hand_sse}
    with started(starts, tmp_path, os.sched_getaffinity(0), "ours") as (running, absent):
        assert list(running) == ["hand-written"]
        assert absent == {"KServe": "not installed here (`make peers` tries)"}
        pid = running["hand-written"].target.pid
        assert pid in family(pid)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(bool(plain_load.missing("wrk")), reason="wrk is not installed")
def test_wrk_measures_a_server_and_refuses_wrong_answers(tmp_path: Path) -> None:
    server = peer_servers.by_hand_sse(tmp_path, os.sched_getaffinity(0))
    path = "/v2/models/text-model/generate_stream"
    load = [1.0, path, body("a b"), partial(is_right_stream, "a b"), 2, 2]
    with server:
        found = asyncio.run(plain_load.wrk(server.target, *load))
        assert found.responses > 0 and found.seconds > 0.9
        assert found.received_bytes > found.responses * len(b'data: {"outputs":[]}')
        assert found.server.cpu_seconds > 0 and found.client_cpu_seconds > 0
        load[3] = partial(is_right_stream, "another")
        with pytest.raises(AnswerError, match="a wrong answer"):
            asyncio.run(plain_load.wrk(server.target, *load))
        load[1] = "/nowhere"
        with pytest.raises(AnswerError, match="404"):
            asyncio.run(plain_load.wrk(server.target, *load))


def test_a_missed_target_says_by_how_much() -> None:
    def seen(value: float, **target: float) -> str:
        return verdict(judged("ours", "stock", "rate", Spread.of([value]), **target))

    assert seen(3.0, at_least=3) == "met"
    assert seen(2.4, at_least=3) == "**missed by 20%**"
    assert seen(0.15, at_most=0.1) == "**missed by 50%**"
    assert seen(2.4) == ""


def test_every_peer_pins_its_version() -> None:
    found = machine.describe()
    table = "\n".join(settings_table(found))
    for peer in ("nvidia-pytriton 0.", "litserve 0.", "bentoml 1.", "kserve 0."):
        assert peer in table
    for requirements in peer_servers.PEERS.glob("*/requirements.txt"):
        for line in requirements.read_text().splitlines():
            assert line.count("==") == 1 and "/" not in line, line


def paced(late: float, errors: dict[str, int] | None = None) -> Paced:
    log = StreamLog(late=[late], first=[0.002], answered=1)
    return Paced.of(Pace(2, 30, 1, 0), [log], [0.001], 0.5, Counter(errors or {}))


def paced_row() -> PacedRow:
    found = {
        "ours": Found(4, (paced(0.01), replace(paced(0.2), streams=4), paced(0.02))),
        "Triton": Found(2, (paced(0.05),)),
    }
    ratios = compared(found)
    return PacedRow("paced, cameras", "camera", "", 0.1, found, ratios, {"KServe": "no stream"})


def test_curves_have_the_better_of_two_runs() -> None:
    row = paced_row()
    assert curves(row)["ours"] == [(2, pytest.approx(10)), (4, pytest.approx(200))]
    assert [(each.over, each.spread.median, each.met) for each in row.ratios] == [
        ("Triton", 2.0, True)
    ]


def test_bars_end_with_the_best() -> None:
    row = Row("text", "response", "", {"a": [sample(9)], "b": [sample(5)], "c": [sample(7)]}, ())
    assert [name for name, _ in bars(row, RATE)] == ["b", "c", "a"]
    assert {name for name, _ in bars(row, "first_response_p99_ms")} == {"a", "b", "c"}


def test_results_are_published_between_the_markers(tmp_path: Path) -> None:
    for name in ("README.md", "benchmarks/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    text = {"ours": [sample(100)], "Triton": [sample(50)]}
    target = judged("ours", "Triton", RATE, Spread.of([2.0]), at_least=4)
    cameras = replace(paced_row(), title="paced, cameras at 25 fps")
    rows = [
        Row("text, SSE, 1 client", "response", "", text, ()),
        Row("text, SSE, 32 clients", "response", "", text, (target,)),
        cameras,
    ]
    found = machine.describe()
    publish(rows, found, "1 round", report.markdown(rows, found, "1 round"), tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("after\n") and "old" not in readme
    assert "| text, each its own model, SSE, 32 clients: responses/s | **50** |  | 25 |" in readme
    assert "| paced, cameras at 25 fps: cameras that fit | **4** |  | 2 |" in readme
    assert "1 of 2 targets met" in readme
    # The other rows, and what each target was, are the whole report's.
    assert "1 client:" not in readme and "missed by" not in readme
    whole = (tmp_path / "benchmarks" / "README.md").read_text()
    assert "| text, each its own model, SSE, 1 client: responses/s | **50** |  | 25 |" in whole
    assert "**missed by 50%**" in whole and "\n## Targets\n" in whole
    assert {path.name for path in (tmp_path / "docs" / "images").iterdir()} == {
        "bench-paced.png",
        "bench-throughput.png",
    }
    (tmp_path / "other.md").write_text("nothing here")
    with pytest.raises(MarkerError):
        replace_marked(tmp_path / "other.md", [])


def test_the_readmes_have_a_place_for_results() -> None:
    for name in ("README.md", "benchmarks/README.md"):
        text = (ROOT / name).read_text()
        assert 0 < text.find(BEGIN) < text.find(END)


def test_the_readme_shows_few_rows_and_each_is_measured() -> None:
    assert len(README_ROWS) <= 13
    measured = (ROOT / "benchmarks" / "results" / "table.md").read_text().splitlines()
    shown = [title for title in README_ROWS if f"## {title}" in measured]
    # These join them with the next `make bench`.
    assert {*README_ROWS} - {*shown} <= {call.title for call in CALLS}
    readme = (ROOT / "README.md").read_text()
    table = readme.partition(BEGIN)[2].partition(END)[0]
    assert table.count("\n| ") == 1 + len(shown)
    assert "missed by" not in readme
