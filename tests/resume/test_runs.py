"""Runs go on by themselves; whoever reads one gets all of it once, or is told why not."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.access.callers import ANYBODY, Caller, set_current
from mlserver_streaming.errors import (
    BadRequestError,
    CancelledStreamError,
    ForgottenError,
    LostStreamError,
    MLServerError,
    NoSuchModelError,
    NoSuchStreamError,
    OverLimitError,
    StillAheadError,
    UnreadError,
    WorkerLostError,
)
from mlserver_streaming.resume.position import MAX_DIGITS, Position, new_id
from mlserver_streaming.resume.run import MAX_READERS, Run
from mlserver_streaming.resume.runs import Runs
from mlserver_streaming.streams.answers import One
from mlserver_streaming.streams.calls import NO_SLOT, REST
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from tests.streams.planes import answer, ask, asked, plane_of, said

CLOSED: list[str] = []


class Counts(MLModel):
    """As many responses as are asked for, each as long as is asked for; waits where told to."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            assert "resumable" not in (
                (request.parameters and request.parameters.model_extra) or {}
            )
            count, size, then = asked(request).split()
            try:
                for number in range(1, int(count) + 1):
                    yield answer(str(number).ljust(int(size)))
                if then == "waits":
                    await asyncio.Event().wait()
            finally:
                CLOSED.append(then)


class Mortal(MLModel):
    """Five responses; the first time its worker is lost behind the third. Asked for "each", the
    next one behind the fourth; for "all", each one behind the third."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            self.asked = getattr(self, "asked", 0) + 1
            what = asked(request)
            deadly = {1: 3, 2: 4 if what == "each" else None}.get(self.asked)
            for number in range(1, 6):
                other = what == "changes" and number == 2 and self.asked > 1
                yield answer("other" if other else str(number))
                if number == (3 if what == "all" else deadly):
                    # There is none for a while.
                    self.ready = what == "all"
                    asyncio.get_running_loop().call_later(0.01, setattr, self, "ready", True)
                    raise WorkerLostError


@asynccontextmanager
async def serving(
    root: Path, extra: dict[str, Any] | None = None, kind: type[MLModel] = Counts, **resume: Any
) -> AsyncIterator[tuple[StreamingDataPlane, Runs]]:
    block = {"resume": resume, "limits": {"streams": 2000}}
    (root / "settings.json").write_bytes(orjson.dumps({"streaming": block}))
    async with plane_of(root, {"m": kind}, extra=extra) as plane:
        yield plane, plane.resume


async def begun(plane: StreamingDataPlane, what: str, **parameters: Any) -> Run:
    """A run whose caller is gone again."""
    request = ask(what, **parameters)
    async with plane.calls.open(REST, {}) as call:
        model = await plane.model("m")
        run: Run = plane.resume.begin(One(request), request, model, None, call.hand_over)
    return run


async def rest(run: Run, after: int = 0) -> list[str]:
    return [said(each)[0].strip() for each in [r async for r in run.join(after).responses()]]


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0)


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


async def test_who_comes_back_ten_thousand_times_gets_each_response_once(tmp_path: Path):
    async with serving(tmp_path) as (plane, runs):
        run = await begun(plane, "100 1 waits")
        await until(lambda: run.log.last == 100)
        found = []
        for turn in range(10_000):
            # Those that are bytes take longer, and are the same.
            after = turn % 100 if turn < 500 else 60 + turn % 40
            reader = await runs.resume(Position(run.head.id, after))
            stream = reader.responses()
            found.append(said(await anext(stream))[0])
            await stream.aclose()
        again = [str(60 + turn % 40 + 1) for turn in range(500, 10_000)]
        assert found == numbers(1, 100) * 5 + again
        assert run.readers == 0
        run.cancel()


async def test_nothing_is_left_of_who_leaves_a_silent_stream_or_a_full_one(tmp_path: Path):
    async with serving(tmp_path, bytes=4096) as (plane, runs):
        run = await begun(plane, "1 1 waits")
        await until(lambda: run.log.last == 1)
        for _ in range(10):
            reading = asyncio.create_task(rest(run, 1))
            await until(lambda: run.readers == 1)
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
        assert run._waiting == []
        full = await begun(plane, "500 100 ends")
        await until(lambda: full._room is not None)
        for _ in range(10):
            full.join().leave()
            await until(lambda: full._room is not None)
        assert runs._waiting == {full._room}
        run.cancel(), full.cancel()


async def test_it_goes_on_alone_and_two_read_it_beside_one_another(tmp_path: Path):
    async with serving(tmp_path) as (plane, _):
        run = await begun(plane, "500 1 ends")
        assert await asyncio.gather(rest(run), rest(run)) == [numbers(1, 500)] * 2
        assert await rest(run, 490) == numbers(491, 500)
        assert (run.state, run.is_over(500), run.is_over(499)) == ("completed", True, False)


async def test_an_unread_run_past_its_bound_waits_and_is_then_ended(tmp_path: Path):
    async with serving(tmp_path, bytes=64 * 1024, seconds_without_reader=0.2) as (plane, _):
        run = await begun(plane, "1000 4000 ends")
        await until(lambda: run.ended)
        assert isinstance(run.error, UnreadError)
        assert 5 < run.log.last < 40
        reader = run.join()
        found = []
        with pytest.raises(UnreadError):
            async for response in reader.responses():
                found.append(said(response)[0].strip())
        assert found == numbers(1, run.log.last)


async def test_while_it_is_read_the_oldest_go_and_a_laggard_is_told(tmp_path: Path):
    async with serving(tmp_path, bytes=64 * 1024) as (plane, _):
        run = await begun(plane, "1000 4000 ends")
        laggard = run.join().responses()
        await anext(laggard)
        assert await rest(run) == numbers(1, 1000)
        assert run.log.first > 900
        with pytest.raises(ForgottenError) as caught:
            async for _ in laggard:
                pass
        assert f"response {run.log.first} on" in str(caught.value)
        with pytest.raises(ForgottenError, match=rf"'{run.head.id}\.{run.log.first - 1}'"):
            run.join(3)
        assert await rest(run, run.log.first - 1) == numbers(run.log.first, 1000)


async def test_a_thousand_that_nobody_reads_stay_within_the_bound(tmp_path: Path):
    async with serving(tmp_path, bytes_in_all=1024 * 1024, streams=2000) as (plane, runs):
        began: list[Run] = []
        for _ in range(100):
            some = [await begun(plane, "40 5 ends") for _ in range(10)]
            for run in some:
                while not run.ended:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            began += some
        kept = (await runs.own()).streams
        assert 40 < len(kept) < 1000
        # The oldest went; of ten that ran at once, any.
        later = began[10 * (began.index(kept[0]) // 10 + 1) :]
        assert kept[-len(later) :] == later
        assert runs.bytes <= 1024 * 1024
        assert runs.bytes / len(kept) < 16 * 1024
        assert await rest(kept[0]) == numbers(1, 40)
        for run in kept:
            run.cancel()
        assert runs.bytes == 0
        assert (await runs.own()).streams == []
        began.clear(), later.clear()
        kept.clear()
        some.clear()
        del run
        gc.collect()
        assert not [each for each in gc.get_objects() if type(each) is Run]


async def test_streams_that_are_read_to_their_ends_at_once_stay_within_the_bound(tmp_path: Path):
    async with serving(tmp_path, bytes_in_all=64 * 1024) as (plane, runs):
        began = [await begun(plane, "20 500 ends") for _ in range(20)]
        assert await asyncio.gather(*map(rest, began)) == [numbers(1, 20)] * 20
        assert runs.bytes <= 64 * 1024
        assert (await runs.own()).streams


async def test_who_waits_for_room_is_woken_once_there_is_some(tmp_path: Path):
    async with serving(tmp_path, bytes_in_all=64 * 1024) as (plane, runs):
        began = [await begun(plane, "20 4000 ends") for _ in range(20)]
        await until(lambda: len(runs._waiting) == 20)
        waiting = {*runs._waiting}
        began[0].cancel()
        await until(lambda: began[0].ended and not began[0].log.size)
        assert runs.bytes > 64 * 1024
        assert sum(each.done() for each in waiting) == 1  # who was cancelled
        for run in began[1:]:
            assert await rest(run) == numbers(1, 20)
        assert runs.bytes <= 64 * 1024


async def test_a_stream_is_thrown_away_some_time_after_its_end(tmp_path: Path):
    async with serving(tmp_path, seconds_kept=0.05) as (plane, runs):
        run = await begun(plane, "3 1 ends")
        await until(lambda: run.ended and not runs.bytes)
        with pytest.raises(NoSuchStreamError):
            await runs.find(run.head.id)


async def test_one_who_still_reads_gets_it_all_the_same(tmp_path: Path):
    async with serving(tmp_path, seconds_kept=0) as (plane, runs):
        run = await begun(plane, "3 1 ends")
        stream = run.join().responses()
        await anext(stream)
        await until(lambda: run.ended)
        assert (await runs.find(run.head.id)) is run
        assert len([each async for each in stream]) == 2
        await until(lambda: not runs.bytes)


async def test_its_caller_cancels_it_and_its_model_is_closed(tmp_path: Path):
    async with serving(tmp_path) as (plane, runs):
        CLOSED.clear()
        run = await begun(plane, "2 1 waits")
        stream = run.join().responses()
        assert [said(await anext(stream))[0] for _ in range(2)] == ["1", "2"]
        run.cancel()
        with pytest.raises(CancelledStreamError):
            await anext(stream)
        assert CLOSED == ["waits"]
        with pytest.raises(NoSuchStreamError):
            await runs.find(run.head.id)


async def test_nobody_elses_stream_is_found_listed_or_cancelled(tmp_path: Path):
    async with serving(tmp_path) as (plane, runs):
        try:
            set_current(Caller("alice", frozenset(), frozenset({"m"})))
            run = await begun(plane, "3 1 ends")
            assert (await runs.own()).streams == [run]
            set_current(Caller("bob", frozenset(), frozenset({"m"})))
            assert (await runs.own()).streams == []
            for stream in (run.head.id, new_id()):
                with pytest.raises(NoSuchStreamError) as caught:
                    await runs.find(stream)
                assert str(caught.value) == (
                    f"You have no stream '{stream}' here, or it was kept no longer; ask again."
                )
        finally:
            set_current(ANYBODY)


async def test_places_that_there_are_not(tmp_path: Path):
    async with serving(tmp_path) as (plane, _):
        run = await begun(plane, "3 1 waits")
        await until(lambda: run.log.last == 3)
        with pytest.raises(StillAheadError, match="the last is 3"):
            run.join(4)
        for text in ("", "a", "a.", ".1", "a.-1", "a.1.x", "a. 1", "ä.1", "a." + "9" * 99):
            with pytest.raises(BadRequestError):
                Position.read(text)
        assert Position.read(f" {run.head.id}.3 ") == Position(run.head.id, 3)
        assert Position.read("a." + "9" * MAX_DIGITS).after == 10**MAX_DIGITS - 1
        run.cancel()


async def test_bounds_of_a_caller_and_of_a_streams_readers(tmp_path: Path):
    async with serving(tmp_path, streams=2) as (plane, runs):
        ended = await begun(plane, "1 1 ends")
        running = await begun(plane, "1 1 waits")
        await until(lambda: ended.ended)
        another = await begun(plane, "1 1 waits")  # the one that has ended makes room
        assert (await runs.own()).streams == [running, another]
        with pytest.raises(OverLimitError, match="as many resumable streams as may be, 2"):
            await begun(plane, "1 1 waits")
        readers = [running.join() for _ in range(MAX_READERS)]
        with pytest.raises(OverLimitError):
            running.join()
        readers[0].leave()
        running.join()
        running.cancel()
        another.cancel()


async def test_a_run_holds_its_callers_slot_and_its_readers_none(tmp_path: Path):
    async with serving(tmp_path) as (plane, _):
        run = await begun(plane, "1 1 waits")
        async with plane.calls.open(REST, {}, slot=NO_SLOT):
            assert plane.calls._limits.used == 1
        run.cancel()
        await until(lambda: run.ended)
        assert plane.calls._limits.used == 0


async def test_what_the_model_refuses_is_refused_and_not_kept(tmp_path: Path):
    async with serving(tmp_path) as (plane, runs):
        request = ask("1 1 ends")
        async with plane.calls.open(REST, {}) as call:
            model = await plane.model("m")
            await plane._model_registry.unload("m")
            run = runs.begin(One(request), request, model, None, call.hand_over)
            with pytest.raises(NoSuchModelError):
                await rest(run)
        assert (await runs.own()).streams == []


@pytest.mark.parametrize(
    ("what", "extra", "parameters", "error"),
    [
        ("same", {"repeatable": True}, {}, None),
        ("same", None, {}, WorkerLostError),
        ("same", {"repeatable": True}, {"sequence_id": 1, "sequence_start": True}, WorkerLostError),
        ("changes", {"repeatable": True}, {}, LostStreamError),
        ("each", {"repeatable": True}, {}, None),
        ("all", {"repeatable": True}, {}, WorkerLostError),
    ],
)
async def test_a_worker_is_lost_under_a_run(
    tmp_path: Path,
    what: str,
    extra: dict[str, Any] | None,
    parameters: dict[str, Any],
    error: type[MLServerError] | None,
):
    async with serving(tmp_path, extra, Mortal) as (plane, _):
        run = await begun(plane, what, **parameters)
        await until(lambda: run.ended)
        if error is None:
            assert await rest(run) == list("12345")
        else:
            assert run.log.last == 3
            with pytest.raises(error):
                await rest(run)


async def test_who_wants_it(tmp_path: Path):
    for always, extra, wish, wanted in (
        (False, None, None, False),
        (False, None, True, True),
        (False, {"resumable": True}, None, True),
        (False, {"resumable": True}, False, False),
        (True, None, None, True),
        (True, None, False, False),
    ):
        async with serving(tmp_path, extra, always=always) as (plane, runs):
            request = ask("1 1 ends", **({} if wish is None else {"resumable": wish}))
            assert runs.is_wanted(request, await plane.model("m")) is wanted
    async with serving(tmp_path) as (plane, runs):
        with pytest.raises(BadRequestError, match="must be true or false"):
            runs.is_wanted(ask("1 1 ends", resumable="yes"), await plane.model("m"))


async def test_the_drain_waits_for_a_run_that_nobody_reads(tmp_path: Path):
    async with serving(tmp_path) as (plane, _):
        run = await begun(plane, "5 1 waits")
        await until(lambda: run.log.last == 5)
        await plane.calls.drain(0.05)
        await until(lambda: run.ended)
        assert run.ended
        assert "stopping" in str(run.error)
