"""`python -m benchmarks` end to end: servers start, answers are checked, files come; its tables."""

import asyncio
import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import benchmarks.__main__ as program
from benchmarks.__main__ import main as benchmarks
from benchmarks.contenders import peer_servers
from benchmarks.contenders.contenders import OURS, OURS_OTHER_GRPC
from benchmarks.contenders.process import ContenderError, family
from benchmarks.contenders.started import started
from benchmarks.inputs.text_prompt import are_events, v2_body
from benchmarks.loads import plain_load
from benchmarks.loads.calls import HttpCall
from benchmarks.loads.load_process import AnswerError
from benchmarks.loads.pace import Pace, Paced, StreamLog
from benchmarks.loads.paced_load import figures, find_fit
from benchmarks.loads.plain_load import h2load_figures, whole, wrk_figures
from benchmarks.loads.samples import Sample, Target, alternate, judged, percentile, ratio
from benchmarks.loads.samples import sample as window
from benchmarks.report import machine, report
from benchmarks.report.plots import bars, curves
from benchmarks.report.publish import BEGIN, END, publish
from benchmarks.report.publish import replace as replace_marked
from benchmarks.report.results import README_ROWS, read, unsteady, verdict, write
from benchmarks.rows import text_rows
from benchmarks.rows.jpeg_rows import WITHOUT_CLIENT, without_client
from benchmarks.rows.measured import RATE, Case, Plan, Row, measure_row
from benchmarks.rows.stock_model_rows import cases, stock_model
from tests.silence.__main__ import main as silence
from tests.silence.__main__ import prepared

ROOT = Path(__file__).resolve().parents[1]
BOTH = (OURS, OURS_OTHER_GRPC)
LOADS = pytest.mark.skipif(
    any(map(plain_load.missing, ("wrk", "h2load"))), reason="wrk or h2load is not installed"
)


def run(arguments: str, results: Path) -> str:
    """The table that a quick run prints; its files come into a folder."""
    done = CliRunner().invoke(
        benchmarks, [*arguments.split(" "), "--quick", "--results", str(results)]
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_quick_run_of_first_responses(tmp_path: Path) -> None:
    table = run("text --row fairness --beside stock", tmp_path)
    assert table.count("| ours / stock MLServer |") == 2
    assert "| Triton |" not in table
    results = sorted(path.name for path in tmp_path.glob("*.json"))
    assert results == [f"fairness-{wire}-32-streams-at-once.json" for wire in ("grpc", "sse")]
    found = json.loads((tmp_path / results[0]).read_text())
    assert found["contenders"]["ours"]["medians"]["first_response_p99_ms"] > 0
    assert found["machine"]["mlserver"]


@LOADS
def test_a_quick_run_of_what_features_cost(tmp_path: Path) -> None:
    table = run("features --beside keys --beside TLS --beside resumable --row features", tmp_path)
    for who, ratios in {"keys": 1, "TLS": 2, "resumable": 1}.items():
        assert table.count(f"| {who} / ours |") == ratios
    found = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert len(found["speed_ms"]) == 2 and min(found["speed_ms"]) > 0


def sample(responses: int) -> Sample:
    return window(responses, 2.0, responses * 10, 1.0, 0.5, (0.001, 0.003))


def test_figures() -> None:
    seen = sample(100).figures
    assert seen["responses_per_second"] == 50
    assert seen["bytes_per_response"] == 10
    assert seen["client_cpu_percent"] == 50
    assert seen["server_cpu_us_per_response"] == 5000
    assert seen["first_response_p99_ms"] == 3


def test_the_client_s_share_of_two_cores_is_taken_out() -> None:
    # 50 a second, and a quarter of the two cores is the client's.
    assert without_client(sample(100)).figures[WITHOUT_CLIENT] == pytest.approx(200 / 3)


def test_percentile() -> None:
    values = list(range(1, 101))
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7.0


def never_fails(name: str, error: ContenderError) -> None:
    raise AssertionError(name)


def test_contenders_take_turns_and_ratios_pair_their_windows() -> None:
    order = []

    def measure(name: str, rates: list[int]) -> Sample:
        order.append(name)
        return sample(rates.pop(0))

    ours, theirs = [100, 300, 200], [50, 100, 50]
    both = {"a": lambda: measure("a", ours), "b": lambda: measure("b", theirs)}
    samples = alternate(3, both, "a", never_fails)
    assert order == ["a", "b"] * 3
    found = ratio(samples, Target("b", at_least=3.5, of="a"))
    assert (found.spread.median, found.spread.low, found.spread.high) == (3, 2, 4)
    assert found.met is False


def test_ours_is_measured_beside_each_other_contender() -> None:
    clock = iter(range(100, 1000, 10))  # a machine that gets faster from window to window

    def measure() -> Sample:
        return sample(next(clock))

    samples = alternate(2, dict.fromkeys(["ours", "a", "b", "c"], measure), "ours", never_fails)
    order = sorted((each.turn, name) for name, found in samples.items() for each in found)
    assert [name for _, name in order] == ["a", "ours", "b", "c", "ours"] * 2
    assert ratio(samples, Target("a")).spread.low == 160 / 150
    assert ratio(samples, Target("c")).spread.high == 140 / 130
    assert ratio(samples, Target("ours", of="c")).spread.low == 130 / 140


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
    assert [row.title for row in rows] == [case.title for case in cases()]
    table = report.table(as_written(*rows))
    assert "| ours | not measured: wrk is not installed (`make load-programs`" in table
    assert "| ours | not measured: h2load is not installed (`make load-programs`" in table


def test_a_stream_is_right_when_each_word_is_an_event() -> None:
    def events(*words: str) -> bytes:
        found = [json.dumps({"outputs": [{"data": [word]}]}) for word in words]
        return "".join(f"data: {each}\n\n" for each in found).encode()

    assert are_events("a b", events("a", " b"))
    assert are_events("a b", b'data: {"output":"a"}\n\ndata: {"output":" b"}\n\n')
    assert not are_events("a b", events("a"))
    assert not are_events("a b", events("a", " b") + b"data: {")
    assert are_events("a", b"id: 1\n" + events("a"))


def test_a_peer_that_fails_leaves_the_row_and_ours_ends_it() -> None:
    def fine() -> Sample:
        return sample(100)

    def wrong() -> Sample:
        raise ContenderError("not the prompt again:\n| b'' |")

    case = Case("text", "response", {}, [Target("Triton", at_least=4)])
    row = measure_row(case, "", 2, {"ours": fine, "Triton": wrong}, {})
    assert len(row.samples["ours"]) == 2 and "Triton" not in row.samples
    assert row.ratios == ()
    assert row.absent == {"Triton": "not the prompt again: / b'' /"}
    with pytest.raises(ContenderError):
        measure_row(case, "", 1, {"ours": wrong}, {})


def test_a_workload_that_fails_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(plan: Plan) -> list[Row]:
        raise ContenderError("no port is free")

    def fine(plan: Plan) -> list[Row]:
        return [Row("text", "response", "", {"ours": [sample(100)]}, ())]

    monkeypatch.setattr(program, "WORKLOADS", {"features": fails, "text": fine})
    done = CliRunner().invoke(benchmarks, ["--results", str(tmp_path)])
    assert done.exit_code == 1 and "features: no port is free" in done.output
    assert "## text" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["text.json"]


def test_as_much_is_asked_of_the_other_grpc_server_as_of_the_one_that_is_shipped() -> None:
    grpc = next(case for case in cases() if "gRPC" in case.title)
    for targets in (text_rows.TARGETS["gRPC"], text_rows.FIRST["gRPC"], grpc.targets):
        of = {who: [replace(each, of="") for each in targets if each.of == who] for who in BOTH}
        bounds = [[each for each in of[who] if each.at_least or each.at_most] for who in BOTH]
        assert bounds[0] == bounds[1] != []


def test_a_peer_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_servers, "ENVIRONMENTS", tmp_path)
    starts = {
        "KServe": peer_servers.kserve,
        "hand-written": partial(peer_servers.by_hand, program="sse_server"),
    }
    with started(starts, tmp_path, os.sched_getaffinity(0), "ours") as (running, absent):
        assert list(running) == ["hand-written"]
        assert absent == {"KServe": "not installed here (`make peers` tries)"}
        pid = running["hand-written"].target.pid
        assert pid in family(pid)
    assert not Path(f"/proc/{pid}").exists()


@LOADS
def test_wrk_measures_a_server_and_refuses_wrong_answers(tmp_path: Path) -> None:
    server = peer_servers.by_hand(tmp_path, os.sched_getaffinity(0), "sse_server")
    path, right = "/v2/models/text-model/generate_stream", partial(are_events, "a b")
    call = HttpCall(path, v2_body("a b"), right, 2)

    def measured(call: HttpCall) -> Sample:
        return asyncio.run(plain_load.wrk(server.target, 1.0, call, 2))

    with server:
        found = measured(call).figures
        assert found[RATE] > 0 and found["bytes_per_response"] > len(b'data: {"outputs":[]}')
        assert found["server_cpu_percent"] > 0 and found["client_cpu_percent"] > 0
        with pytest.raises(AnswerError, match="a wrong answer"):
            measured(replace(call, is_right=partial(are_events, "another")))
        with pytest.raises(AnswerError, match="404"):
            measured(replace(call, path="/nowhere"))


def test_a_target_may_be_of_a_figure_by_itself() -> None:
    samples = {"ours": [Sample({"kib_a_stream": size}) for size in (60.0, 80.0, 62.0)]}
    found = ratio(samples, Target("", at_most=64, figure="kib_a_stream"))
    assert (found.spread.median, found.met) == (62, True)
    row = Row("idle", "event", "", samples, (found,))
    assert "| ours | KiB a stream | **62.00** | 60.00-80.00 | <= 64 met |" in report.table(
        as_written(row)
    )


def test_a_missed_target_says_by_how_much() -> None:
    def seen(value: float, **target: float) -> str:
        return verdict(vars(judged(Target("stock", **target), [value])))

    assert seen(3.0, at_least=3) == "met"
    assert seen(2.4, at_least=3) == "**missed by 20%**"
    assert seen(0.15, at_most=0.1) == "**missed by 50%**"
    assert seen(2.4) == ""


def test_every_peer_pins_its_version() -> None:
    found = sorted(peer_servers.PEERS.glob("*/requirements.txt"))
    assert [path.parent.name for path in found] == ["bentoml", "kserve", "litserve", "triton"]
    for requirements in found:
        for line in requirements.read_text().splitlines():
            assert line.count("==") == 1 and "/" not in line, line


def paced(streams: int, late: float, errors: dict[str, int] | None = None) -> Paced:
    log = StreamLog(late=[late], first=[0.002], answered=1, errors=Counter(errors or {}))
    return Paced.of(Pace(streams, 30, 1, 0), [log], [0.001], 0.5)


def test_how_many_fit_and_what_was_seen_with_so_many() -> None:
    async def run(streams: int) -> Paced:
        return paced(streams, 0.02 * streams)

    seen = figures(asyncio.run(find_fit(run, first=2, most=64))).figures
    assert seen["most"] == 5 and seen["late_p99_ms"] == pytest.approx(100)
    assert figures([paced(2, 0.9)]).figures == {"most": 0}


def as_written(*rows: Row) -> list[dict[str, Any]]:
    return [row.as_dict(machine.describe()) for row in rows]


def paced_row() -> Row:
    runs = [paced(2, 0.01), paced(4, 0.2), paced(4, 0.02)]
    samples = {
        "ours": [Sample({"most": 4}, runs=runs)],
        "Triton": [Sample({"most": 2}, runs=runs[:1])],
    }
    absent = {"KServe": "no stream"}
    return Row("paced, cameras at 25 fps", "camera", "", samples, (), absent)


def test_curves_have_the_better_of_two_runs() -> None:
    found = curves(as_written(paced_row())[0])
    assert found["ours"] == [(2, pytest.approx(10)), (4, pytest.approx(20))]


def test_a_row_says_that_the_machine_s_own_speed_changed() -> None:
    row = Row("text, SSE, 1 client", "response", "", {"ours": [sample(100)]}, ())
    steady, slower = as_written(*(replace(row, speed_ms=(100, ms)) for ms in (124.0, 150.0)))
    assert "took 100 ms before, 124 after" in report.table([steady])
    assert unsteady(steady) == "" and unsteady(as_written(row)[0]) == ""
    assert "**meanwhile the machine became 50% slower**" in report.table([slower])
    # Rows that are older have no such figure.
    del steady["speed_ms"]
    assert "before" in report.table([steady]) and unsteady(steady) == ""


def test_bars_end_with_the_best() -> None:
    samples = {"a": [sample(9)], "b": [sample(5)], "c": [sample(7)]}
    rate, first = as_written(
        Row("text", "response", "", samples, ()), Row("fairness", "response", "", samples, ())
    )
    assert [name for name, _ in bars(rate)] == ["b", "c", "a"]
    assert {value for _, value in bars(first)} == {3.0}


def test_results_are_published_between_the_markers(tmp_path: Path) -> None:
    results = tmp_path / "benchmarks" / "results"
    for name in ("README.md", "benchmarks/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    text = {"ours": [sample(100)], "Triton": [sample(50)]}
    target = judged(Target("Triton", at_least=4), [2.0])
    # What another run measured stays.
    write(as_written(Row("text, SSE, 32 clients", "response", "", text, ())), results)
    write(as_written(Row("text, SSE, 1 client", "response", "", text, (target,))), results)
    write(as_written(paced_row()), results)
    publish(results, tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("after\n") and "old" not in readme
    assert "| text, each its own model, SSE, 32 clients: responses/s | **50** | 25 |" in readme
    assert "| paced, cameras at 25 fps: cameras that fit | **4** | 2 |" in readme
    assert "0 of 1 targets met" in readme
    # The other rows, and what each target was, are not the README's.
    assert "1 client:" not in readme and "missed by" not in readme
    whole = (tmp_path / "benchmarks" / "README.md").read_text()
    assert "| text, each its own model, SSE, 1 client: responses/s | **50** | 25 |" in whole
    assert "**missed by 50%**" in whole and "\n## Targets\n" in whole
    table = (results / "table.md").read_text()
    assert "| KServe | not measured: no stream |" in table
    images = {path.name for path in (tmp_path / "docs" / "images").iterdir()}
    assert images == {"bench-paced.png", "bench-throughput.png"}
    (tmp_path / "other.md").write_text("nothing here")
    with pytest.raises(ValueError, match="other"):
        replace_marked(tmp_path / "other.md", [])


def test_the_readmes_show_the_results_that_are_there() -> None:
    results = read(ROOT / "benchmarks" / "results")
    assert len(README_ROWS) <= 13
    for name, lines in (
        ("README.md", report.short(results)),
        ("benchmarks/README.md", report.page(results)),
    ):
        text = (ROOT / name).read_text()
        shown = text.partition(BEGIN)[2].partition(END)[0]
        assert shown.strip().splitlines() == lines, f"python -m benchmarks --publish renews {name}"
    assert (ROOT / "benchmarks" / "results" / "table.md").read_text() == report.table(results)


def test_the_silence_check_begins():
    result = CliRunner().invoke(silence, ["--only", "no such kind", "--help"])
    assert result.exit_code == 0 and "--quick" in result.output


def test_the_silence_check_finds_its_models(tmp_path):
    prepared(tmp_path / "service")
    assert {"echo", "echo-cached", "text-cached"} <= {
        each.name for each in (tmp_path / "service" / "model-settings").iterdir()
    }
