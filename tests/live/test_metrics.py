"""Known traffic over every protocol, and what Prometheus sees of it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from mlserver_streaming.rpc.triton.messages import ModelStreamInferResponse
from mlserver_streaming.watch.metrics import REASONS, SECONDS
from tests.live.conftest import make_folder
from tests.live.figures import figure, matching, scrape, total
from tests.live.grpc_calls import SERVICE, channel, infer, stream, text_request, triton_stream
from tests.live.rest_calls import open_gate, path, probe, prompt
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import steps, wait_until

PROTOCOLS = ("rest", "grpc", "triton")
HISTOGRAMS = (
    "stream_first_response_seconds",
    "stream_response_interval_seconds",
    "stream_duration_seconds",
)
COUNTERS = ("stream_requests_total", "stream_responses_total", "stream_request_errors_total")
TEXT = {"model_name": "text-model", "model_version": ""}
PROBE = {"model_name": "probe", "model_version": ""}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that nothing else asks; `text-7` has a version."""
    streaming = {"limits": {"streams_per_model": 4, "waiting": 0}}
    folder = make_folder(tmp_path_factory.mktemp("metrics"), streaming=streaming)
    models = folder / "model-settings"
    settings = json.loads((models / "text-model" / "model-settings.json").read_text())
    (models / "text-7").mkdir()
    (models / "text-7" / "model-settings.json").write_text(
        json.dumps(settings | {"name": "text-7", "parameters": {"version": "7"}})
    )
    with WarmService(folder, folder / "server.log") as running:
        yield running


class Difference:
    """By how much figures have grown since this was made."""

    def __init__(self, service: Service):
        self._service = service
        self._before = scrape(service)

    def of(self, name: str, **labels: str) -> float:
        return self.all(name, **labels)[0]

    def all(self, *names: str, **labels: str) -> list[float]:
        """Each metric's growth, all seen at one moment."""
        now = scrape(self._service)
        return [total(now, name, **labels) - total(self._before, name, **labels) for name in names]


async def post(service: Service, model: str, call: str, body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        return await client.post(path(model, call), json=body)


async def three_words(service: Service, protocol: str, model: str = "text-model") -> None:
    """One stream, one request, three responses, the sizes of all checked by the metrics."""
    grew = Difference(service)
    message = text_request("a b c", model=model)
    if protocol == "rest":
        answer = await post(service, model, "generate_stream", prompt("a b c"))
        received, sent = len(answer.request.content), len(answer.content)
    elif protocol == "grpc":
        replies = await stream(service.grpc_address, [message])
        received, sent = message.ByteSize(), sum(reply.ByteSize() for reply in replies)
    else:
        sizes = []
        async with channel(service.triton_address) as connection:
            call = connection.stream_stream(SERVICE + "ModelStreamInfer")
            async for reply in call(iter([message.SerializeToString()])):
                sizes.append(len(ModelStreamInferResponse.FromString(reply).infer_response))
        received, sent = message.ByteSize(), sum(sizes)
    version = "7" if model == "text-7" else ""
    labels = {"model_name": model, "model_version": version, "protocol": protocol}
    # The last bytes are counted after the client has them.
    await wait_until(lambda: grew.of("stream_bytes_total", direction="out", **labels) == sent)
    assert grew.of("stream_bytes_total", direction="in", **labels) == received
    counts = [f"{name}_count" for name in HISTOGRAMS]
    assert grew.all(*COUNTERS, *counts, **labels) == [1, 3, 0, 1, 2, 1]
    assert grew.of("stream_terminated_total", reason="completed", **labels) == 1
    assert figure(service, "stream_active", **labels) == 0


@pytest.mark.parametrize("model", ["text-model", "text-7"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stream_is_counted(counted: Service, protocol: str, model: str):
    await three_words(counted, protocol, model)


async def test_buckets_reach_from_tokens_to_long_jobs(counted: Service):
    await three_words(counted, "rest")
    found = matching(scrape(counted), "stream_response_interval_seconds_bucket", **TEXT)
    bounds = {float(sample.labels["le"]) for sample in found}
    assert bounds == {*SECONDS, float("inf")}


async def test_unary_calls_count_their_bytes_and_are_no_streams(counted: Service):
    grew = Difference(counted)
    answer = await post(counted, "text-model", "infer", prompt("a b"))
    message = text_request("a b")
    reply = await infer(counted.grpc_address, message)
    of = {**TEXT, "protocol": "rest"}
    assert grew.of("stream_bytes_total", direction="out", **of) == len(answer.content)
    of = {**TEXT, "protocol": "grpc"}
    assert grew.of("stream_bytes_total", direction="in", **of) == message.ByteSize()
    assert grew.of("stream_bytes_total", direction="out", **of) == reply.ByteSize()
    assert grew.of("stream_terminated_total", **TEXT) == 0
    assert grew.of("model_infer_request_success_total", model="text-model", version="") == 2


async def test_a_running_stream_is_seen_before_its_end(counted: Service, tmp_path: Path):
    grew = Difference(counted)
    gate = tmp_path / "gate"
    body = probe(steps=3, gate=str(gate))
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(post(counted, "probe", "generate_stream", body))
        await wait_until(lambda: figure(counted, "stream_active", **PROBE) == 1)
        await wait_until(lambda: grew.of("stream_responses_total", **PROBE) == 1)
        assert grew.of("stream_requests_total", **PROBE) == 1
        assert grew.of("stream_first_response_seconds_count", **PROBE) == 1
        assert grew.of("stream_duration_seconds_count", **PROBE) == 0
        open_gate(gate, 1)
        open_gate(gate, 2)
    assert asked.result().text.count("data: ") == 3
    assert grew.of("stream_responses_total", **PROBE) == 3
    assert figure(counted, "stream_active", **PROBE) == 0


async def test_a_request_that_fails_in_a_stream_that_goes_on(counted: Service):
    grew = Difference(counted)
    requests = [text_request("a"), text_request("b", delay=99), text_request("c")]
    for send, address in (
        (stream, counted.grpc_address),
        (triton_stream, counted.triton_address),
    ):
        assert len(await send(address, requests)) == 3
    for protocol in ("grpc", "triton"):
        of = {**TEXT, "protocol": protocol}
        assert grew.of("stream_requests_total", **of) == 3
        assert grew.of("stream_request_errors_total", **of) == 1
        assert grew.of("stream_terminated_total", reason="error", **of) == 0


# What ends a stream, each for its reason.


async def hang(
    service: Service, protocol: str, folder: Path, leaves: bool = False, **parameters: Any
) -> None:
    """A stream that gives one response and then waits, until the client leaves or the service ends
    it."""
    seen = folder / "seen"
    wanted = {"steps": 2, "gate": str(folder / "never"), "path": str(seen), **parameters}
    message = text_request("x", model="probe", **wanted)
    calls: dict[str, Callable[[], Any]] = {
        "rest": lambda: post(service, "probe", "generate_stream", probe(**wanted)),
        "grpc": lambda: stream(service.grpc_address, [message]),
        "triton": lambda: triton_stream(service.triton_address, [message]),
    }
    task = asyncio.create_task(calls[protocol]())
    await wait_until(lambda: steps(seen) == 1)
    if leaves:
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def leave(service: Service, protocol: str, folder: Path) -> None:
    await hang(service, protocol, folder, leaves=True)


async def run_late(service: Service, protocol: str, folder: Path) -> None:
    if protocol == "grpc":  # where the deadline is the call's
        message = text_request("x", model="probe", steps=2, gate=str(folder / "never"))
        with pytest.raises(grpc.aio.AioRpcError):
            await stream(service.grpc_address, [message], timeout=0.8)
    else:
        await hang(service, protocol, folder, timeout=500_000)


async def fail(service: Service, protocol: str, folder: Path | None = None) -> None:
    message = text_request("x", model="probe", steps=2, fail_at=1)
    if protocol == "rest":
        await post(service, "probe", "generate_stream", probe(steps=2, fail_at=1))
    elif protocol == "grpc":
        with pytest.raises(grpc.aio.AioRpcError):
            await stream(service.grpc_address, [message])
    else:
        await triton_stream(service.triton_address, [message])


async def come_too_many(service: Service, protocol: str, folder: Path) -> None:
    gate = folder / "gate"
    body = probe(steps=2, gate=str(gate))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(post(service, "probe", "generate_stream", body))
        await wait_until(lambda: figure(service, "stream_active", **PROBE) == 4)
        await fail(service, protocol)
        open_gate(gate, 1)


WAYS = {
    "client_disconnect": leave,
    "deadline": run_late,
    "error": fail,
    "rejected": come_too_many,
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("reason", WAYS)
async def test_why_a_stream_ended(counted: Service, tmp_path: Path, reason: str, protocol: str):
    grew = Difference(counted)
    await WAYS[reason](counted, protocol, tmp_path)
    of = {**PROBE, "protocol": protocol}
    await wait_until(lambda: grew.of("stream_terminated_total", reason=reason, **of) == 1)
    others = [
        grew.of("stream_terminated_total", reason=other, **of)
        for other in REASONS
        if other not in (reason, "completed")
    ]
    assert not any(others)
    assert grew.of("stream_terminated_total", model_name="") == 0


async def test_the_drain_is_a_reason(tmp_path: Path):
    folder = make_folder(tmp_path / "service", streaming={"drain_seconds": 60})
    with WarmService(folder, folder / "server.log") as service:
        seen, gate = tmp_path / "seen", tmp_path / "never"
        body = probe(steps=2, gate=str(gate), path=str(seen))
        running = asyncio.create_task(post(service, "probe", "generate_stream", body))
        await wait_until(lambda: steps(seen) == 1)
        service.process.send_signal(signal.SIGTERM)
        ready = f"{service.url}/v2/health/ready"
        await wait_until(lambda: httpx.get(ready).status_code == 503)
        refused = await post(service, "text-model", "generate_stream", prompt("a"))
        assert refused.status_code == 503
        assert figure(service, "stream_terminated_total", reason="drain", protocol="rest") == 1
        service.process.send_signal(signal.SIGTERM)
        assert "stopping" in (await running).text
    assert "reason=drain" in service.log.read_text()


async def test_what_callers_make_up_is_no_label(counted: Service):
    """Two rounds of names that nobody knows: the second adds no series to the first's."""

    async def round_of(name: str) -> None:
        for call in ("infer", "generate_stream"):
            assert (await post(counted, name, call, prompt("a"))).status_code == 404
        assert (await post(counted, "text-model/versions/" + name, "infer", {})).status_code == 404
        async with httpx.AsyncClient(base_url=counted.url) as client:
            assert (await client.get(f"/{name}")).status_code == 404
            assert (await client.get(f"/v2/models/{name}/ready")).status_code == 404
        message = text_request("a", model=name)
        for ask in (
            infer(counted.grpc_address, message),
            stream(counted.grpc_address, [message]),
            unknown_method(counted.grpc_address, f"/{name}/{name}"),
            unknown_method(counted.triton_address, f"{SERVICE}{name}"),
        ):
            with pytest.raises(grpc.aio.AioRpcError):
                await ask
        for send, address in (
            (stream, counted.grpc_address),
            (triton_stream, counted.triton_address),
        ):
            await send(address, [text_request("a"), message])

    await round_of("unheard-of")
    before = {(sample.name, *sorted(sample.labels.items())) for sample in scrape(counted)}
    assert not [labels for labels in before if "unheard-of" in str(labels)]
    await round_of("unthought-of")
    after = {(sample.name, *sorted(sample.labels.items())) for sample in scrape(counted)}
    assert after == before


async def unknown_method(address: str, method: str) -> None:
    async with channel(address) as connection:
        await connection.unary_unary(method)(b"")


async def test_no_version_has_two_names(counted: Service):
    """MLServer says "None" over REST and "" over gRPC."""
    await post(counted, "text-model", "infer", prompt("a"))
    await infer(counted.grpc_address, text_request("a"))
    versions = {
        sample.labels.get("version", sample.labels.get("model_version", ""))
        for sample in scrape(counted)
        if sample.name != "python_info"
    }
    assert versions == {"", "7"}
