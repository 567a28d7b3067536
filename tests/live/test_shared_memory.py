"""Shared memory over every wire of a live service, by Triton's own clients and by hand."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from clients.errors import RefusedError
from clients.grpc_channel import open_channel
from clients.grpc_messages import raw_request
from clients.infer_call import InferCall
from clients.jpeg_stream import JpegStream
from clients.server import Server
from clients.server_process import HOST
from mlserver_streaming.rpc.triton.messages import CLASSES, ModelStreamInferResponse
from mlserver_streaming.vision.scene import scene_frame
from tests.live.conftest import make_folder
from tests.live.grpc_calls import SERVICE, channel, set_parameters
from tests.live.rest_calls import path
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService
from tests.live.watch import wait_until
from tests.regions.files import FOLDER, MakeFile, files

SCRIPT = Path(__file__).with_name("scripts") / "triton_shared_memory.py"
PERF_ANALYZER = ROOT / ".venv" / "perf_analyzer"
NUMBERS = np.arange(8, dtype=np.float32)
SIZE = NUMBERS.nbytes
OFF = "Shared memory is off here"


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = make_folder(
        tmp_path_factory.mktemp("sharing"), streaming={"shared_memory": {"enabled": True}}
    )
    with WarmService(folder, folder / "server.log") as running:
        yield running


@pytest.fixture
def make_file() -> Iterator[MakeFile]:
    with files() as make:
        yield make


@pytest.fixture
def client(sharing: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sharing.url, timeout=60) as found:
        yield found
        found.post("/v2/systemsharedmemory/unregister")


def register(client: httpx.Client, name: str, key: str, size: int = SIZE, offset: int = 0) -> Any:
    asked = {"key": key, "offset": offset, "byte_size": size}
    return client.post(f"/v2/systemsharedmemory/region/{name}/register", json=asked)


def request(region: str = "r", output: str | None = None, size: int = SIZE) -> dict[str, Any]:
    """A request to the model echo, its input in a region, and its output if it is to be."""

    def place(name: str) -> dict[str, Any]:
        return {"shared_memory_region": name, "shared_memory_byte_size": size}

    tensor = {"name": "x", "datatype": "FP32", "shape": [8], "parameters": place(region)}
    found: dict[str, Any] = {"inputs": [tensor]}
    if output:
        found["outputs"] = [{"name": "y", "parameters": place(output)}]
    return found


def message(model: str, region: str, output: str | None = None) -> pb.ModelInferRequest:
    """The same over gRPC."""
    found = pb.ModelInferRequest(model_name=model, id="1")
    tensors: list[Any] = [found.inputs.add(name="x", datatype="FP32", shape=[8])]
    if output:
        tensors.append(found.outputs.add(name="y"))
    for tensor, name in zip(tensors, (region, output), strict=False):
        tensor.parameters["shared_memory_region"].string_param = name
        tensor.parameters["shared_memory_byte_size"].int64_param = SIZE
    return found


@pytest.mark.parametrize("wire", ["http", "grpc", "triton", "triton stream"])
def test_triton_s_client(wire: str, sharing: Service) -> None:
    addresses = {"http": f"127.0.0.1:{sharing.http}", "grpc": sharing.grpc_address}
    address = addresses.get(wire, sharing.triton_address)
    command = [sys.executable, "-W", "ignore", str(SCRIPT)]
    command += ["http" if wire == "http" else "grpc", address, *wire.split()[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["status"] == [["in", 4915264], ["out", 4915232]]
    assert seen["one"] == [True, 32, True]
    assert seen["numbers"] == [True, False, True, True, True]
    assert seen["texts"] is True
    assert seen["out"] == [[0, 1, 2, 3], 64]
    assert seen["in"] is True
    assert seen["both"] == seen["still"] == [0, 1, 2, 3]
    assert seen["left"] == ["out"]
    assert seen["cuda status"] == []
    said = {name: seen[name][1] for name in ("cuda", "twice", "too small", "past the end")}
    assert said == {
        "cuda": "CUDA shared memory is not supported; register system shared memory.",
        "twice": "You have a region 'in-TAG' already; unregister it, or take another name.",
        "too small": "Output 'y' has 16 bytes, but its part of region 'out-TAG' only 15; give it "
        "a larger one.",
        "past the end": "Region 'in-TAG' has 4915264 bytes; 16 from byte 4915256 on are past its "
        "end.",
    }
    assert seen["unknown"][1] == "You have no region 'nope'; register it first."
    assert seen["wrong size"][1].endswith("so 16 bytes, but its raw data has 12.")
    # An error in a stream of Triton's has no status.
    codes = [seen[name][0] for name in ("cuda", "twice", "too small", "unknown")]
    wanted = {
        "http": ["501", "409", "400", "404"],
        "triton stream": ["StatusCode.UNIMPLEMENTED", "StatusCode.ALREADY_EXISTS", "None", "None"],
    }
    of_grpc = ["UNIMPLEMENTED", "ALREADY_EXISTS", "INVALID_ARGUMENT", "NOT_FOUND"]
    assert codes == wanted.get(wire, [f"StatusCode.{code}" for code in of_grpc])


@pytest.mark.skipif(
    not (PERF_ANALYZER / "perf_analyzer").exists(),
    reason="Triton's perf_analyzer is not here; `make perf-analyzer` fetches it",
)
@pytest.mark.parametrize("mode", [[], ["--streaming", "--async"]], ids=["unary", "stream"])
def test_perf_analyzer(mode: list[str], sharing: Service) -> None:
    done = subprocess.run(
        [
            str(PERF_ANALYZER / "perf_analyzer"),
            *("-m", "echo", "-u", sharing.triton_address, "-i", "grpc", *mode),
            *("--shared-memory", "system", "--output-shared-memory-size", str(4 * 640)),
            *("--shape", "x:640", "--measurement-mode", "count_windows"),
            *("--measurement-request-count", "20", "-s", "1000"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(PERF_ANALYZER)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Throughput: " in done.stdout


def test_what_does_not_name_regions_is_answered_as_ever(client: httpx.Client) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}
    answer = client.post(path("echo", "infer"), json={"inputs": [tensor]})
    assert answer.json()["outputs"][0]["data"] == [1, 2]
    assert "system_shared_memory" in client.get("/v2").json()["extensions"]


def test_events_of_outputs_in_a_region(client: httpx.Client, make_file: MakeFile) -> None:
    source, target = make_file(NUMBERS.tobytes()), make_file(bytes(SIZE))
    assert register(client, "r", source.name).status_code == 200
    assert register(client, "out", f"/{target.name}").status_code == 200
    answer = client.post(path("echo", "infer_stream"), json=request(output="out"))
    (event,) = [line for line in answer.text.splitlines() if line]
    (output,) = json.loads(event.removeprefix("data: "))["outputs"]
    assert output["parameters"] == {
        "shared_memory_region": "out",
        "shared_memory_byte_size": SIZE,
    }
    assert "data" not in output
    assert target.read_bytes() == NUMBERS.tobytes()


BAD = {
    "size 0": (("r", "FILE", 0), "must have 1 byte or more"),
    "larger than the file": (("r", "FILE", SIZE + 1), "make it that long"),
    "offset past the end": (("r", "FILE", 1, SIZE), "make it that long"),
    "negative offset": (("r", "FILE", SIZE, -1), "'offset' must be a number of bytes"),
    "no number": (("r", "FILE", "8"), "'byte_size' must be a number of bytes"),
    "no such file": (("r", "no-such-file"), "does not exist"),
    "path": (("r", "../etc/passwd"), "The key '../etc/passwd' is not one"),
    "slash": (("r", "a/b"), "The key 'a/b' is not one"),
    "hidden": (("r", ".x"), "The key '.x' is not one"),
    "no key": (("r", None), "'key' must be the name of a file"),
    "name with a slash": (("a%2Fb", "FILE"), "The region's name 'a/b' is not one"),
    "name with dots": (("a..b", "FILE"), "The region's name 'a..b' is not one"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_registration(case: str, client: httpx.Client, make_file: MakeFile) -> None:
    (name, key, *rest), text = BAD[case]
    found: Any = make_file(NUMBERS.tobytes()).name if key == "FILE" else key
    answer = register(client, name, found, *rest)
    assert answer.status_code == 400
    assert text in answer.json()["error"]
    assert client.get("/v2/systemsharedmemory/status").json() == []
    assert register(client, "r", make_file(NUMBERS.tobytes()).name).status_code == 200


def test_more_registrations_than_may_be(client: httpx.Client, make_file: MakeFile) -> None:
    file = make_file(NUMBERS.tobytes())
    answers = [register(client, f"r{number}", file.name) for number in range(70)]
    assert [answer.status_code for answer in answers] == [200] * 64 + [429] * 6
    assert "as many as may be; unregister some" in answers[-1].json()["error"]
    assert client.post(path("echo", "infer"), json=request("r1")).status_code == 200


def test_a_file_that_is_cut_short_or_removed(
    sharing: Service, client: httpx.Client, make_file: MakeFile
) -> None:
    source, target = make_file(NUMBERS.tobytes()), make_file(bytes(SIZE))
    register(client, "r", source.name)
    register(client, "out", target.name)
    whole = request(output="out")
    for file in (source, target):
        content = file.read_bytes()
        os.truncate(file, 4)
        answer = client.post(path("echo", "infer"), json=whole)
        assert answer.status_code == 400
        assert "has 4 bytes, fewer than the 32 that the region needs" in answer.json()["error"]
        file.write_bytes(content)
        assert client.post(path("echo", "infer"), json=whole).status_code == 200
    source.unlink()
    answer = client.post(path("echo", "infer"), json=whole)
    assert "was removed; unregister it" in answer.json()["error"]
    assert sharing.process.poll() is None


async def test_one_request_of_a_stream_fails_alone(
    sharing: Service, client: httpx.Client, make_file: MakeFile
) -> None:
    register(client, "r", make_file(NUMBERS.tobytes()).name)
    register(client, "short", make_file(bytes(SIZE)).name, SIZE - 4)
    register(client, "out", make_file(bytes(SIZE)).name)
    asked = [message("echo", "r", "out"), message("echo", "r"), message("echo", "r", "out")]
    asked[1].id, asked[2].id = "2", "3"
    asked[1].outputs.add(name="y")
    asked[1].outputs[0].parameters["shared_memory_region"].string_param = "short"
    asked[1].outputs[0].parameters["shared_memory_byte_size"].int64_param = SIZE - 4
    async with channel(sharing.grpc_address) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")
        replies = call(iter([each.SerializeToString() for each in asked]))
        found = {reply.id: reply async for each in replies for reply in [response(each)]}
    assert "give it a larger one" in found["2"].parameters["error"].string_param
    for number in ("1", "3"):
        assert found[number].outputs[0].parameters["shared_memory_region"].string_param == "out"


def response(each: bytes) -> pb.ModelInferResponse:
    return pb.ModelInferResponse.FromString(each)


@pytest.mark.parametrize("unregistered", [("region", "r"), ()], ids=["by name", "all"])
async def test_who_unregisters_while_a_stream_is_at_work(
    unregistered: tuple[str, ...],
    sharing: Service,
    client: httpx.Client,
    make_file: MakeFile,
    tmp_path: Path,
) -> None:
    """The request that the model has goes on to its end; the next one is told."""
    register(client, "r", make_file(NUMBERS.tobytes()).name)
    target = make_file(bytes(SIZE))
    register(client, "out", target.name)
    unregister = "/".join(["/v2/systemsharedmemory", *unregistered, "unregister"])
    gate = tmp_path / "gate"
    held = set_parameters(message("echo", "r", "out"), gate=str(gate))
    async with channel(sharing.triton_address) as connection:
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(held.SerializeToString())
        await wait_until(lambda: gate.with_name("gate-met").exists())
        await asyncio.to_thread(client.post, unregister)
        gate.touch()
        first = ModelStreamInferResponse.FromString(await call.read())
        await call.write(message("echo", "r").SerializeToString())
        second = ModelStreamInferResponse.FromString(await call.read())
        await call.done_writing()
    assert not first.error_message
    assert response(first.infer_response).outputs[0].name == "y"
    assert target.read_bytes() == NUMBERS.tobytes()
    assert second.error_message == "You have no region 'r'; register it first."


async def test_where_it_is_off_every_call_says_so(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        calls = [
            await client.get("/v2/systemsharedmemory/status"),
            await client.post("/v2/systemsharedmemory/unregister"),
            await client.post("/v2/systemsharedmemory/region/r/register", json={}),
            await client.post(path("echo", "infer"), json=request()),
            await client.post(path("echo", "infer_stream"), json=request()),
        ]
        for answer in calls:
            assert answer.status_code == 501
            assert answer.json()["error"].startswith(OFF)
        assert "system_shared_memory" not in (await client.get("/v2")).json()["extensions"]
    for address in (service.grpc_address, service.triton_address):
        async with channel(address) as connection:
            asked = {
                "SystemSharedMemoryStatus": CLASSES["SharedMemoryName"](),
                "ModelInfer": message("echo", "r"),
            }
            for method, sent in asked.items():
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await connection.unary_unary(SERVICE + method)(sent.SerializeToString())
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
                assert (refused.value.details() or "").startswith(OFF)


def test_who_comes_by_a_proxy_is_refused(client: httpx.Client) -> None:
    answer = client.get("/v2/systemsharedmemory/status", headers={"forwarded": "for=10.0.0.1"})
    assert answer.status_code == 403
    assert "clients on the service's own host" in answer.json()["error"]


async def test_our_clients_pass_frames_and_tensors(sharing: Service, client: httpx.Client) -> None:
    """Each region is taken by one request after another, and gone at the end."""

    async def regions() -> list[Any]:
        found = await asyncio.to_thread(client.get, "/v2/systemsharedmemory/status")
        return list(found.json())

    frames = [scene_frame(number, width=320, height=240) for number in range(12)]
    async with JpegStream(port=sharing.grpc, shared_memory=True, in_flight=3) as stream:
        images = [image async for image in stream.map(frames)]
        held = await regions()
    assert [getattr(image, "shape", image) for image in images] == [(240, 320, 3)] * 12
    assert 1 <= len(held) <= 3
    server, tensor = Server(HOST, sharing.grpc), np.arange(4096, dtype=np.float32)
    async with open_channel(server) as channel_of_ours:
        call = InferCall(channel_of_ours, server, shared_memory=True)
        for size in (2048, 4096, 1024):
            request = raw_request(
                tensor[:size].tobytes(),
                datatype="FP32",
                shape=[size],
                model="echo",
                request_id="",
                tensor="x",
            )
            answer, _ = await (await call.send(request)).response
            assert answer.raw_output_contents[0] == tensor[:size].tobytes()
        held += await regions()
        await call.hang_up()
    assert await regions() == []
    assert not [each["key"] for each in held if (FOLDER / each["key"]).exists()]


async def test_our_client_says_where_it_is_off(service: Service) -> None:
    with pytest.raises(RefusedError, match=OFF):
        async with JpegStream(port=service.grpc, shared_memory=True) as stream:
            await stream(scene_frame(0, width=320, height=240))
