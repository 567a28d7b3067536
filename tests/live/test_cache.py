"""Two instances of the service and one memcached: what one has answered, the other knows."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.grpc_calls import infer, jpeg_request, stream, text_request, triton_stream
from tests.live.images import jpeg
from tests.live.rest_calls import events, path, prompt
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService
from tests.memcached import Memcached, needs_memcached

PAGE = (ROOT / "docs" / "cache.md").read_text()
SECTION = PAGE.partition("## Try it")[2].partition("\n## ")[0]
[LINES] = re.findall(r"```shell\n(.*?)```", SECTION, re.DOTALL)
MEMCACHED, EXPORT, START, FIRST, SECOND = LINES.splitlines()
PROMPT = "What is the capital of France?"

pytestmark = needs_memcached


class Pair:
    """Two services that share a memcached."""

    def __init__(self, memcached: Memcached, one: Service, other: Service):
        self.memcached = memcached
        self.one, self.other = one, other


def exported(line: str, memcached: Memcached) -> dict[str, str]:
    """The environment that the page's line makes, with the memcached of the test."""
    assert line.startswith("export ")
    script = f"{line.replace('127.0.0.1:11211', memcached.address)}\nenv -0"
    found = subprocess.check_output(["bash", "-euc", script], text=True).rstrip("\0").split("\0")
    names = re.findall(r"(\w+)=", line)
    return {
        name: value for name, _, value in (each.partition("=") for each in found) if name in names
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = make_folder(tmp_path_factory.mktemp("cache") / "service")
    with Memcached() as memcached:
        given = exported(EXPORT, memcached) | {
            # A machine that is busy with tests is no reason for a miss.
            "STREAMING_CACHE__TIMEOUT_SECONDS": "1",
            "STREAMING_CACHE__RETRY_SECONDS": "0.2",
            "STREAMING_LIMITS__STREAMS": "1100",
        }
        with (
            WarmService(folder, folder / "one.log", **given) as one,
            WarmService(folder, folder / "other.log", **given) as other,
        ):
            yield Pair(memcached, one, other)


def sse(service: Service, text: str, **parameters: Any) -> tuple[str, str]:
    """What a stream of events says, and how it came."""
    found = httpx.post(
        f"{service.url}{path('text-model', 'generate_stream')}", json=prompt(text, **parameters)
    )
    said = events(found.text)
    (way,) = {each["parameters"]["cache"] for each in said}
    return "".join(each["outputs"][0]["data"][0] for each in said), way


def words_and_way(responses: list[Any]) -> tuple[str, str]:
    (way,) = {each.parameters["cache"].string_param for each in responses}
    return b"".join(each.raw_output_contents[0][4:] for each in responses).decode(), way


# -- docs/cache.md --


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_five_lines_do_what_the_page_says(pair: Pair):
    assert shutil.which(MEMCACHED.split()[0])
    assert START.count("mlserver start .") == 2
    # What the second instance's ports are in the line, and here.
    ports = {"8080": pair.one.http, "9081": pair.other.grpc, "9082": pair.other.metrics}
    first, second = FIRST, SECOND
    for port, real in ports.items():
        assert port in FIRST or f"PORT={port}" in START
        first, second = (line.replace(port, str(real)) for line in (first, second))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }

    def run(line: str) -> str:
        return subprocess.run(
            ["bash", "-euc", line], env=environment, capture_output=True, text=True, check=True
        ).stdout

    said = events(run(first))
    assert [each["cache"] for each in said] == ["miss"] * 6
    answer = run(second)
    assert answer.startswith(PROMPT)
    assert re.search(
        r'^cache_requests_total\{.*model_name="text-model".*way="hit"\} 1\.0$', answer, re.MULTILINE
    )


# -- protocols --


async def test_what_one_has_answered_the_other_knows_over_every_protocol(pair: Pair):
    text = "over every protocol"
    assert sse(pair.one, text) == (text, "miss")
    assert sse(pair.one, text, delay=3) == (text, "hit")
    assert sse(pair.other, text) == (text, "hit")
    grpc = pair.other.grpc_address
    assert words_and_way(await stream(grpc, [text_request(text)])) == (text, "hit")
    replies = await triton_stream(pair.other.triton_address, [text_request(text, request_id="7")])
    assert words_and_way([response for _, response in replies]) == (text, "hit")
    assert {response.id for _, response in replies} == {"7"}
    assert [response.parameters["triton_final_response"].bool_param for _, response in replies] == [
        False,
        False,
        True,
    ]
    unary = await infer(grpc, text_request(text))
    assert unary.parameters["cache"].string_param == "hit"
    async with httpx.AsyncClient(base_url=pair.other.url) as client:
        answer = await client.post(path("text-model", "generate"), json={"text_input": text})
    flat = answer.json()
    assert (flat["text_output"], flat["cache"]) == (text, "hit")


async def test_a_frame_is_coded_once(pair: Pair):
    frames = [jpeg(64 + n) for n in range(3)]
    requests = [jpeg_request(frame, request_id=str(n % 2)) for n, frame in enumerate(frames)]
    first = await stream(pair.one.grpc_address, requests)
    again = await stream(pair.other.grpc_address, [*requests, *requests])
    assert [each.parameters["cache"].string_param for each in first] == ["miss"] * 3
    assert [each.parameters["cache"].string_param for each in again] == ["hit"] * 6
    coded = [each.raw_output_contents[0] for each in first]
    assert [each.raw_output_contents[0] for each in again] == coded * 2
    assert [each.id for each in again] == ["0", "1", "0"] * 2


async def test_a_sequence_of_frames_is_what_it_was(pair: Pair):
    frame = jpeg(80)

    def asked(**flags: Any) -> Any:
        return jpeg_request(frame, sequence_id=5, **flags)

    requests = [asked(sequence_start=True), asked(), asked(), asked(sequence_end=True)]
    for _ in range(2):
        responses = await stream(pair.one.grpc_address, requests)
        assert ["error" in each.parameters for each in responses] == [False] * 4
    stray, _ = await stream(pair.one.grpc_address, [asked(), jpeg_request(frame)])
    assert "START" in stray.parameters["error"].string_param


def test_a_wish_that_there_is_not_is_400_on_the_wire(pair: Pair):
    answer = httpx.post(
        f"{pair.one.url}{path('text-model', 'generate_stream')}", json=prompt("a", cache="never")
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith('Parameter \'cache\' must be "skip" or "refresh"')


# -- many, and faults --


async def slow(
    service: Service, client: httpx.AsyncClient, text: str, delay: float = 0.05
) -> tuple[str, str]:
    answer = await client.post(
        f"{service.url}{path('text-model', 'generate_stream')}", json=prompt(text, delay=delay)
    )
    assert answer.status_code == 200, answer.text
    said = events(answer.text)
    return "".join(each["outputs"][0]["data"][0] for each in said), said[-1]["parameters"]["cache"]


async def test_a_thousand_askers_of_one_slow_stream_cost_one_run(pair: Pair):
    before = figure(pair.one, "cache_requests_total", way="miss", model_name="text-model")
    limits = httpx.Limits(max_connections=1000)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        text = "what a thousand want"
        everything = await asyncio.gather(
            *(slow(pair.one, client, text, delay=1) for _ in range(1000))
        )
    assert {said for said, _ in everything} == {text}
    after = figure(pair.one, "cache_requests_total", way="miss", model_name="text-model")
    assert after - before == 1


async def test_memcached_is_killed_hung_and_back_amid_streams(pair: Pair):
    async def hundred(name: str) -> list[str]:
        async with httpx.AsyncClient(timeout=60) as client:
            texts = [f"{name} {n} of a hundred streams" for n in range(100)]
            asked = [
                slow((pair.one, pair.other)[n % 2], client, text) for n, text in enumerate(texts)
            ]
            found = await asyncio.gather(*asked)
        assert [said for said, _ in found] == texts
        return [way for _, way in found]

    async def amid(name: str, fault: Any) -> None:
        streams = asyncio.create_task(hundred(name))
        await asyncio.sleep(0.1)
        fault()
        await streams

    await amid("killed", pair.memcached.kill)
    await amid("restarted", pair.memcached.start)
    await amid("hung", pair.memcached.hang)
    await amid("hung", pair.memcached.go_on)
    for _ in range(50):
        if await hundred("fine") == ["hit"] * 100:
            break
    else:
        raise AssertionError("memcached is back, and is not used")
    for service in (pair.one, pair.other):
        log = service.log.read_text()
        assert "Traceback" not in log
        assert "does not answer; left alone for 0.2 s." in log
    assert pair.one.process.poll() is None
