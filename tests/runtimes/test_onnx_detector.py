from pathlib import Path

import numpy as np
import pytest

from mlserver_streaming.vision.layouts import Layout
from runtimes.detection.onnx_detector import ModelFileError, OnnxDetector, OnnxSettings
from tests.runtimes.onnx_files import brightness_detector, constant_detector, string_model
from tests.vision import layouts

BLANK = np.zeros((1, 3, 64, 64), np.float32)


@pytest.mark.parametrize(
    ("layout", "outputs"),
    [
        (Layout.ROWS, layouts.rows()),
        (Layout.HEADS, layouts.heads()),
        (Layout.YOLOV8, layouts.yolov8()),
        (Layout.YOLOV5, layouts.yolov5()),
        (Layout.YOLOX, layouts.yolox()),
    ],
)
def test_a_file_of_every_layout(tmp_path: Path, layout: Layout, outputs: dict) -> None:
    detector = OnnxDetector(constant_detector(tmp_path / "m.onnx", outputs))
    assert detector.layout is layout
    assert (detector.height, detector.width, detector.any_size, detector.batch) == (
        64,
        64,
        False,
        1,
    )
    (found,) = detector.run([BLANK])
    for name, expected in outputs.items():
        np.testing.assert_array_equal(found[name], expected)


def test_what_the_file_says_of_itself(tmp_path: Path) -> None:
    metadata = {"names": "{0: 'cat', 2: 'dog'}", "stride": "32", "imgsz": "[64, 64]"}
    path = constant_detector(
        tmp_path / "m.onnx",
        layouts.yolov8(),
        shape=("batch", 3, "height", "width"),
        metadata=metadata,
    )
    detector = OnnxDetector(path)
    assert detector.labels == ("cat", "1", "dog")
    assert (detector.stride, detector.any_size, detector.batch) == (32, True, None)
    assert (detector.height, detector.width) == (64, 64)
    assert str(detector) == "m.onnx: yolov8, any size, 3 named classes"


def test_metadata_that_is_no_literal_is_left_alone(tmp_path: Path) -> None:
    metadata = {"names": "__import__('os')", "stride": "?", "imgsz": "[1"}
    detector = OnnxDetector(
        constant_detector(tmp_path / "m.onnx", layouts.rows(), metadata=metadata)
    )
    assert (detector.labels, detector.stride) == ((), 32)


def test_half_precision(tmp_path: Path) -> None:
    path = constant_detector(tmp_path / "m.onnx", layouts.rows(), dtype=np.float16)
    (found,) = OnnxDetector(path).run([BLANK])
    np.testing.assert_array_equal(found["output0"], layouts.rows()["output0"])


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_open_and_fixed_batches(tmp_path: Path, batch: int | str) -> None:
    detector = OnnxDetector(brightness_detector(tmp_path / "m.onnx", batch=batch))
    images = [np.full((1, 3, 64, 64), shade, np.float32) for shade in (0.1, 0.5, 0.9, 0.3, 0.7)]
    scores = [float(found["output0"][0, 0, 4]) for found in detector.run(images)]
    assert scores == pytest.approx([0.1, 0.5, 0.9, 0.3, 0.7], rel=1e-4)


def bad_files(folder: Path) -> dict[str, Path]:
    good = constant_detector(folder / "good.onnx", layouts.rows())
    (folder / "text.onnx").write_text("not a model")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "short.onnx").write_bytes(good.read_bytes()[:-400])
    one = np.zeros((1, 1000), np.float32)
    return {
        "it is not a whole ONNX model": folder / "text.onnx",
        "it is not a whole ONNX model ": folder / "empty.onnx",
        "it is not a whole ONNX model  ": folder / "short.onnx",
        "it must have one input": string_model(folder / "string.onnx"),
        "'probabilities' [1, 1000]": constant_detector(
            folder / "classifier.onnx", {"probabilities": one}
        ),
        "[1, 1, 64, 64]": constant_detector(
            folder / "grey.onnx", layouts.rows(), shape=(1, 1, 64, 64)
        ),
    }


def test_files_that_are_no_detectors_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for text, path in bad_files(tmp_path).items():
        with pytest.raises(ModelFileError) as raised:
            OnnxDetector(path)
        said = str(raised.value)
        assert text.strip() in said
        assert said.startswith(f"{path.name} cannot be served as a detector: ")
        assert "\n" not in said and len(said) < 600


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    path = constant_detector(tmp_path / "m.onnx", layouts.rows())
    with pytest.raises(ModelFileError, match=r"has no TensorrtExecutionProvider; it has .*CPU"):
        OnnxDetector(path, OnnxSettings(providers=("TensorrtExecutionProvider",)))
    with pytest.raises(ModelFileError, match="yolov8 does not fit"):
        OnnxDetector(path, OnnxSettings(layout=Layout.YOLOV8, labels=("a",)))
