"""Objects in video on a live service: motion, a detector, both behind an upstream, the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from clients import video_client
from mlserver_streaming.vision.detections import select
from mlserver_streaming.vision.jpeg import decode
from mlserver_streaming.vision.motion import Background
from mlserver_streaming.vision.scene import moving_scene
from tests.live.conftest import make_folder
from tests.live.grpc_calls import infer, raw_request, stream, triton_stream
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.runtimes.onnx_files import constant_detector
from tests.vision import layouts
from tests.vision.jpegs import jpeg

FRAMES = [jpeg(image) for image in moving_scene(16, width=320, height=180)]
NAMES = {"names": "{0: 'cat', 1: 'cow', 2: 'dog'}"}


@pytest.fixture(scope="module")
def objects(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A second service: a detector of its own, and models that the first one serves."""
    folder = make_folder(tmp_path_factory.mktemp("objects"))
    models = folder / "model-settings"
    constant_detector(models / "detector" / "model.onnx", layouts.yolov8(), metadata=NAMES)
    ports = {"there": service.grpc, "there-triton": service.triton, "nowhere": 9}
    for name, port in ports.items():
        for model in ("motion", "jpeg-model"):
            settings = {
                "name": f"{model}-{name}",
                "implementation": "runtimes.upstream.UpstreamModel",
                "parameters": {"uri": f"grpc://127.0.0.1:{port}", "extra": {"model": model}},
            }
            (models / settings["name"]).mkdir()
            (models / settings["name"] / "model-settings.json").write_text(json.dumps(settings))
    with WarmService(folder, folder / "server.log") as running:
        yield running


def motion(frame: bytes, index: int = 0, model: str = "motion", **more: Any) -> Any:
    return raw_request(model, "image", [frame], str(index), **more)


def boxes(response: Any) -> np.ndarray:
    names = [output.name for output in response.outputs]
    raw = response.raw_output_contents[names.index("boxes")]
    return np.frombuffer(raw, np.float32).reshape(-1, 4)


def plain() -> list[np.ndarray]:
    background = Background()
    return [select(background.update(decode(frame))).boxes for frame in FRAMES]


def same(responses: Any, expected: list[np.ndarray]) -> None:
    assert [response.id for response in responses] == [str(n) for n in range(len(expected))]
    for response, wanted in zip(responses, expected, strict=True):
        np.testing.assert_array_equal(boxes(response), wanted)


async def test_motion_over_grpc(service: Service) -> None:
    requests = [motion(frame, index, track=True) for index, frame in enumerate(FRAMES)]
    responses = await stream(service.grpc_address, requests)
    same(responses, plain())
    assert json.loads(responses[-1].parameters["labels"].string_param)[0] == "moving"
    assert responses[-1].outputs[-1].name == "track_ids"


async def test_a_sequence_over_unary_calls(service: Service) -> None:
    last = len(FRAMES) - 1
    responses = [
        await infer(
            service.grpc_address,
            motion(frame, n, sequence_id="unary", sequence_start=n == 0, sequence_end=n == last),
        )
        for n, frame in enumerate(FRAMES)
    ]
    same(responses, plain())


async def test_a_sequence_on_the_triton_port(service: Service) -> None:
    requests = [
        motion(frame, n, sequence_id=77, sequence_start=n == 0) for n, frame in enumerate(FRAMES)
    ]
    replies = await triton_stream(service.triton_address, requests)
    assert not any(error for error, _ in replies)
    same(sorted((reply for _, reply in replies), key=lambda reply: int(reply.id)), plain())


def test_a_detector_without_a_file_is_one_line(service: Service) -> None:
    index = httpx.post(f"{service.url}/v2/repository/index", json={}).json()
    assert "detector" not in [model["name"] for model in index]
    lines = [line for line in service.log.read_text().splitlines() if "'detector'" in line]
    assert len(lines) == 1
    assert "there is no model-settings/detector/model.onnx. Put its file there, or" in lines[0]


async def test_a_detector_with_one(objects: Service) -> None:
    response = await infer(objects.grpc_address, raw_request("detector", "image", [FRAMES[0]]))
    assert len(boxes(response)) == 2


def test_a_detector_over_rest(objects: Service) -> None:
    metadata = httpx.get(f"{objects.url}/v2/models/detector").json()
    assert [tensor["name"] for tensor in metadata["outputs"]][-1] == "output0"
    assert metadata["outputs"][3]["parameters"]["labels"] == "cat, cow, dog"
    tensor = {"name": "images", "shape": [1, 3, 64, 64], "datatype": "UINT8"}
    answer = httpx.post(
        f"{objects.url}/v2/models/detector/infer",
        json={"inputs": [{**tensor, "data": [0] * 3 * 64 * 64}], "outputs": [{"name": "boxes"}]},
    ).json()
    (output,) = answer["outputs"]
    np.testing.assert_allclose(np.reshape(output["data"], (-1, 4)), layouts.FOUND.boxes, atol=1e-4)
    assert answer["parameters"]["labels"] == ["dog", "cat"]


@pytest.mark.parametrize("name", ["there", "there-triton"])
async def test_models_behind_an_upstream(objects: Service, name: str) -> None:
    frames = list(enumerate(FRAMES))
    direct = await stream(
        objects.grpc_address, [raw_request("jpeg-model", "image", [f], str(n)) for n, f in frames]
    )
    behind = await stream(
        objects.grpc_address,
        [raw_request(f"jpeg-model-{name}", "image", [f], str(n)) for n, f in frames],
    )
    by_id = {response.id: response.raw_output_contents for response in behind}
    assert by_id == {response.id: response.raw_output_contents for response in direct}
    watched = await stream(
        objects.grpc_address,
        [
            motion(frame, n, f"motion-{name}", sequence_id=f"up-{name}", sequence_start=n == 0)
            for n, frame in frames
        ],
    )
    same(sorted(watched, key=lambda response: int(response.id)), plain())


async def test_an_upstream_that_is_not_there(objects: Service) -> None:
    request = motion(FRAMES[0], model="motion-nowhere")
    for call in (infer(objects.grpc_address, request), stream(objects.grpc_address, [request])):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        text = raised.value.details() or ""
        assert text.startswith("The upstream at 127.0.0.1:9 cannot be reached: ")


def test_an_upstream_that_is_not_there_over_rest(objects: Service) -> None:
    answer = httpx.post(
        f"{objects.url}/v2/models/motion-nowhere/infer",
        json={"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["x"]}]},
    )
    assert answer.status_code == 503


def test_the_client_through_an_upstream(objects: Service, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        video_client.main,
        [
            *("--model", "motion-there", "--port", str(objects.grpc)),
            *("--max-frames", "40", "--results-dir", str(tmp_path)),
        ],
    )
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("40 frames in ")
    lines = [
        json.loads(line) for line in (tmp_path / "frame_counts.jsonl").read_text().splitlines()
    ]
    assert len(lines) == 40
    # The ball and two or three cars, followed.
    assert 3 <= lines[-1]["counts"]["moving"] <= 6
    assert (tmp_path / "annotated.mp4").stat().st_size > 10_000
