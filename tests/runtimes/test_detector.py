"""DetectorModel, as a client of a stream sees it."""

import asyncio
import itertools
import re
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.vision.detections import Detections
from mlserver_streaming.vision.jpeg import decode
from mlserver_streaming.vision.letterbox import Letterbox, to_tensor
from runtimes.detector import DetectorModel
from tests.runtimes.asking import answers, ask, error_of
from tests.runtimes.onnx_files import brightness_detector, constant_detector
from tests.shared_data import BUS, YOLOV8N, needs
from tests.vision import layouts
from tests.vision.jpegs import jpeg, picture
from tests.vision.layouts import FOUND

NAMES = {"names": "{0: 'cat', 1: 'cow', 2: 'dog'}"}


async def loaded(path: Path, **extra: Any) -> DetectorModel:
    model = DetectorModel(
        ModelSettings(
            name="detector",
            implementation="runtimes.detector.DetectorModel",
            parameters=ModelParameters(uri=str(path), extra={"inference_threads": 1, **extra}),
        )
    )
    await model.load()
    return model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return constant_detector(tmp_path / "model.onnx", layouts.yolov8(), metadata=NAMES)


def outputs(response: InferenceResponse) -> dict[str, Any]:
    return {each.name: each.data.root for each in response.outputs}


def found(response: InferenceResponse) -> Detections:
    tensors = outputs(response)
    assert tensors["num_dets"].tolist() == [len(tensors["scores"])]
    return Detections(tensors["boxes"], tensors["scores"], tensors["classes"])


def images(data: np.ndarray, datatype: str = "FP32", **more: Any) -> InferenceRequest:
    request = ask("images", [], shape=list(data.shape), datatype=datatype, **more)
    request.inputs[0].data.root = data
    return request


async def test_a_jpeg_and_a_tensor(file: Path) -> None:
    model = await loaded(file)
    # Twice as wide as high: it lies in rows 16 to 48 of the input.
    from_jpeg, from_tensor = await answers(
        model,
        ask("image", [jpeg(picture(128, 64))], id="a"),
        images(np.zeros((1, 3, 64, 64), np.float32), id="b"),
    )
    assert (from_jpeg.id, from_tensor.id) == ("a", "b")
    np.testing.assert_allclose(found(from_tensor).boxes, FOUND.boxes)
    np.testing.assert_allclose(
        found(from_jpeg).boxes, [[16, 0, 56, 48], [66, 8, 126, 64]], atol=1e-3
    )
    assert from_jpeg.parameters.model_extra == {"labels": ["dog", "cat"]}
    assert found(from_jpeg).classes.tolist() == [2, 0]
    assert [(o.name, o.datatype, o.shape) for o in from_jpeg.outputs] == [
        ("num_dets", "INT32", [1]),
        ("boxes", "FP32", [2, 4]),
        ("scores", "FP32", [2]),
        ("classes", "INT32", [2]),
    ]
    await model.unload()


@pytest.mark.parametrize(
    ("wishes", "labels"),
    [
        ({"confidence": 0.8}, ["dog"]),
        ({"confidence": "0.8"}, ["dog"]),
        ({"max_detections": 1}, ["dog"]),
        ({"classes": [0]}, ["cat"]),
        ({"classes": ["cat", "cow"]}, ["cat"]),
        ({"classes": "cat, cow"}, ["cat"]),
        ({"classes": "[0, 1]"}, ["cat"]),
        ({"classes": 1}, []),
        ({"classes": 99}, []),
    ],
)
async def test_what_a_request_may_ask_for(file: Path, wishes: dict, labels: list[str]) -> None:
    model = await loaded(file)
    (response,) = await answers(model, ask("image", [jpeg()], parameters=wishes))
    assert response.parameters.model_extra["labels"] == labels


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"confidence": 2}, "Parameter 'confidence' must be a number from 0 to 1, not 2."),
        ({"iou": "much"}, "Parameter 'iou' must be a number from 0 to 1, not 'much'."),
        ({"max_detections": 0}, "Parameter 'max_detections' must be a whole number from 1"),
        (
            {"classes": "horse"},
            "Parameter 'classes' must list numbers or names of classes; 'horse'",
        ),
        ({"classes": [1.5]}, "Parameter 'classes' must list numbers or names of classes; 1.5 is"),
        ({"track": "maybe"}, "Parameter 'track' must be true or false, not 'maybe'."),
    ],
)
async def test_wishes_that_make_no_sense(file: Path, wishes: dict, text: str) -> None:
    model = await loaded(file)
    bad, good = await answers(
        model, ask("image", [jpeg()], parameters=wishes), ask("image", [jpeg()], id="next")
    )
    code, said = error_of(bad)
    assert code == 400 and said.startswith(text)
    assert good.id == "next" and len(found(good)) == 2


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (ask("image", [b"no picture!"]), 422, "neither a JPEG nor base64 text"),
        (ask("image", [jpeg()[:200]]), 422, "the JPEG is truncated"),
        (
            images(np.zeros((1, 3, 32, 32), np.float32)),
            400,
            "of 32x32 pixels; model 'detector' takes",
        ),
        (
            images(np.zeros((1, 64, 64, 3), np.float32)),
            400,
            "must have shape [n, 3, height, width]",
        ),
        (
            images(np.zeros((1, 3, 64, 64)), "FP64"),
            400,
            "must be FP32 or FP16 or UINT8, not 'FP64'",
        ),
        (images(np.full((1, 3, 64, 64), np.nan, np.float32)), 422, "holds NaN"),
        (images(np.full((1, 3, 64, 64), 255, np.float32)), 422, "from 255 to 255; they must be"),
        (images(np.full((1, 3, 64, 64), -1, np.float32)), 422, "from 0 to 1"),
    ],
    ids=["bytes", "truncated", "size", "order", "datatype", "nan", "range", "negative"],
)
async def test_frames_that_cannot_be_read(
    file: Path, request_: InferenceRequest, code: int, text: str
) -> None:
    model = await loaded(file)
    bad, good = await answers(model, request_, ask("image", [jpeg()], id="next"))
    assert error_of(bad)[0] == code
    assert text in error_of(bad)[1]
    assert len(found(good)) == 2


async def test_a_size_that_is_not_what_shape_and_datatype_say(file: Path) -> None:
    model = await loaded(file)
    request = images(np.zeros((1, 3, 64, 64), np.float32))
    request.inputs[0].data.root = np.zeros(7, np.float32)
    (response,) = await answers(model, request)
    assert error_of(response) == (
        400,
        "Input 'images' is FP32 of shape [1, 3, 64, 64], so 49152 bytes, but its data has 28.",
    )


async def test_both_inputs_at_once(file: Path) -> None:
    model = await loaded(file)
    request = images(np.zeros((1, 3, 64, 64), np.float32))
    request.inputs += ask("image", [jpeg()]).inputs
    (response,) = await answers(model, request)
    assert error_of(response) == (400, "Send 'image' or 'images', not both.")


@pytest.mark.parametrize("size", [(1, 1), (16384, 2), (3, 900)])
async def test_frames_of_any_size(file: Path, size: tuple[int, int]) -> None:
    model = await loaded(file)
    (response,) = await answers(model, ask("image", [jpeg(picture(*size))]))
    assert found(response).boxes.max() <= max(size)


async def test_a_frame_that_is_too_large(file: Path) -> None:
    model = await loaded(file, max_megapixels=0.01)
    (response,) = await answers(model, ask("image", [jpeg(picture(200, 100))]))
    assert "200x100 pixels" in error_of(response)[1]


async def test_several_frames_of_a_request(tmp_path: Path) -> None:
    model = await loaded(brightness_detector(tmp_path / "model.onnx"), max_batch=4)
    shades = (np.arange(1, 6) * 40).astype(np.uint8)
    stack = np.repeat(shades, 3 * 64 * 64).reshape(5, 3, 64, 64)
    responses = await answers(model, images(stack, "UINT8"))
    assert [r.parameters.model_extra["frame_index"] for r in responses] == [0, 1, 2, 3, 4]
    scores = [found(r).scores.tolist() for r in responses]
    # The first is below 0.25.
    assert scores == [[], *([pytest.approx(s / 255, rel=1e-4)] for s in shades[1:])]


async def test_streams_share_batches(tmp_path: Path) -> None:
    model = await loaded(brightness_detector(tmp_path / "model.onnx"), max_batch=8)
    sizes: list[int] = []
    run, put = model._batches._run, model._batches.put
    asked, all_asked, alone_runs = itertools.count(1), threading.Event(), threading.Event()

    def counted(batch: Any) -> Any:
        alone_runs.set()
        assert all_asked.wait(60)
        sizes.append(len(batch))
        return run(batch)

    def counted_put(tensor: Any) -> Any:
        if next(asked) == 13:
            all_asked.set()
        return put(tensor)

    model._batches._run, model._batches.put = counted, counted_put
    first = images(np.full((1, 3, 64, 64), 0.5, np.float32))
    alone = asyncio.create_task(answers(model, first))
    assert await asyncio.to_thread(alone_runs.wait, 60)
    # That batch ends when twelve frames of other streams wait.
    shades = np.linspace(0.3, 0.9, 12)
    all_answers = await asyncio.gather(
        *(answers(model, *[images(np.full((1, 3, 64, 64), s, np.float32))] * 4) for s in shades)
    )
    await alone
    for shade, responses in zip(shades, all_answers, strict=True):
        assert [found(r).scores[0] for r in responses] == [pytest.approx(shade, rel=1e-4)] * 4
    assert sizes[:2] == [1, 8]
    assert max(sizes) == 8
    assert sum(sizes) == 49


async def test_raw_outputs_when_asked_for_by_name(file: Path) -> None:
    model = await loaded(file)
    request = ask("image", [jpeg()])
    request = InferenceRequest(
        inputs=request.inputs, outputs=[{"name": "output0"}, {"name": "num_dets"}]
    )
    (response,) = await answers(model, request)
    tensors = outputs(response)
    assert list(tensors) == ["output0", "num_dets"]
    np.testing.assert_array_equal(tensors["output0"], layouts.yolov8()["output0"])
    metadata = await model.metadata()
    assert [(t.name, t.shape) for t in metadata.outputs][-1] == ("output0", [-1, 7, 84])
    assert metadata.outputs[3].parameters.labels == "cat, cow, dog"


async def test_tracks(file: Path) -> None:
    model = await loaded(file)
    request = ask("image", [jpeg()], track=True)
    responses = await answers(model, *[request] * 4)
    ids = [outputs(response)["track_ids"].tolist() for response in responses]
    assert ids[0] == ids[3] and len(set(ids[0])) == 2 and min(ids[0]) > 0


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Model 'detector' has no file"):
        await loaded(tmp_path / "none.onnx")


@pytest.mark.parametrize("setting", [{"layout": "yolo"}, {"colour": "red"}, {"scale": 0}])
async def test_settings_that_make_no_sense(file: Path, setting: dict) -> None:
    with pytest.raises(Exception, match=next(iter(setting))):
        await loaded(file, **setting)


# On the real model, beside a reference that shares no code with ours.


def reference(image: np.ndarray) -> Detections:
    """Plain onnxruntime and OpenCV, as Ultralytics' own example for OpenCV does it."""
    height, width = image.shape[:2]
    scale = min(640 / height, 640 / width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)))
    across, down = (640 - small.shape[1]) / 2, (640 - small.shape[0]) / 2
    boxed = cv2.copyMakeBorder(
        small,
        *(round(down - 0.1), round(down + 0.1), round(across - 0.1), round(across + 0.1)),
        cv2.BORDER_CONSTANT,
        value=(114, 114, 114),
    )
    tensor = boxed[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    session = onnxruntime.InferenceSession(str(YOLOV8N), providers=["CPUExecutionProvider"])
    rows = session.run(None, {"images": tensor})[0][0].T
    best = rows[:, 4:].argmax(axis=1)
    scores = rows[np.arange(len(rows)), 4 + best]
    boxes = rows[:, :4].copy()
    boxes[:, :2] -= boxes[:, 2:] / 2
    kept = []
    for number in np.unique(best):
        of_class = np.flatnonzero((best == number) & (scores >= 0.25))
        chosen = cv2.dnn.NMSBoxes(boxes[of_class].tolist(), scores[of_class].tolist(), 0.25, 0.45)
        kept += of_class[np.asarray(chosen, int).reshape(-1)].tolist()
    kept = sorted(kept, key=lambda index: -scores[index])
    corners = boxes[kept]
    corners[:, 2:] += corners[:, :2]
    corners = (corners - [across, down, across, down]) / scale
    corners = np.clip(corners, 0, [width, height, width, height])
    return Detections(corners.astype(np.float32), scores[kept], best[kept].astype(np.int32))


@needs(BUS, YOLOV8N)
async def test_the_bus() -> None:
    model = await loaded(YOLOV8N)
    assert re.fullmatch(
        r"yolov8n_int8.onnx: yolov8, 640x640, 80 named classes", str(model._detector)
    )
    data = BUS.read_bytes()
    image = decode(data)
    box = Letterbox.fit(image.shape[1], image.shape[0], 640, 640)
    tensor = to_tensor(box.apply(image))
    from_jpeg, from_tensor = await answers(model, ask("image", [data]), images(tensor))
    labels = from_jpeg.parameters.model_extra["labels"]
    assert sorted(labels) == ["bus", "person", "person", "person", "person"]
    expected = reference(image)
    assert found(from_jpeg).classes.tolist() == expected.classes.tolist()
    np.testing.assert_allclose(found(from_jpeg).scores, expected.scores, atol=0.02)
    np.testing.assert_allclose(found(from_jpeg).boxes, expected.boxes, atol=2)
    np.testing.assert_allclose(
        box.restore(found(from_tensor).boxes), found(from_jpeg).boxes, atol=1
    )
