import numpy as np
import pytest
from mlserver.grpc.dataplane_pb2 import InferParameter, InferTensorContents, ModelInferResponse

from clients.errors import ProtocolError
from clients.video.grpc_detections import (
    Thresholds,
    in_sequence,
    jpeg_request,
    read_sight,
    tensor_request,
)
from mlserver_streaming.vision.letterbox import Letterbox
from tests.clients.detections import OUTPUT, detections_response
from tests.clients.responses import raw_response
from tests.vision import layouts
from tests.vision.jpegs import jpeg, picture


def test_a_request_with_a_tensor() -> None:
    data = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    request = tensor_request(
        data, model="m", version="2", outputs=["output0"], parameters={"track": True}
    )
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("images", "FP32", [1, 3, 2, 2])
    assert request.raw_input_contents[0] == data.tobytes()
    assert (request.model_name, request.model_version) == ("m", "2")
    assert [output.name for output in request.outputs] == ["output0"]
    assert request.parameters["track"].bool_param


def test_a_request_with_a_jpeg_in_a_sequence() -> None:
    request = in_sequence(jpeg_request(b"data", model="m", tensor="frame"), "cam", start=True)
    assert request.inputs[0].name == "frame"
    assert request.parameters["sequence_id"].string_param == "cam"
    assert request.parameters["sequence_start"].bool_param
    assert not request.parameters["sequence_end"].bool_param


def test_detections() -> None:
    response = detections_response("1", [[1, 2, 3, 4], [-5, 0, 999, 9]], ["car", "bus"], [7, -1])
    sight = read_sight(response, 640, 360)
    assert sight.detections.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 640, 9]]
    assert sight.labels == ["car", "bus"]
    assert sight.track_ids == [7, -1]


def test_nothing_found_and_nothing_said() -> None:
    sight = read_sight(detections_response("1", []), 640, 360)
    assert (len(sight.detections), sight.labels, sight.track_ids) == (0, [], None)
    assert len(read_sight(ModelInferResponse(), 640, 360).detections) == 0


@pytest.mark.parametrize("labels", ["no json", '"text"', '["one too few"]', "{}"])
def test_labels_that_make_no_sense_are_left_out(labels: str) -> None:
    response = detections_response("1", [[1, 2, 3, 4], [5, 6, 7, 8]])
    response.parameters["labels"].CopyFrom(InferParameter(string_param=labels))
    assert read_sight(response, 640, 360).labels == ["0", "1"]


def test_boxes_of_a_tensor_are_scaled_back() -> None:
    box = Letterbox.fit(1280, 720, 640, 640)
    sight = read_sight(detections_response("1", [[0, 140, 320, 500]]), 1280, 720, box)
    assert sight.detections.boxes.tolist() == [[0, 0, 640, 720]]


@pytest.mark.parametrize("layout", [layouts.rows, layouts.heads, layouts.yolov8, layouts.yolov5])
def test_the_raw_output_of_a_detector(layout: object) -> None:
    response = ModelInferResponse()
    for name, output in layout().items():  # type: ignore[operator]
        datatype = "INT32" if output.dtype == np.int32 else "FP32"
        response.outputs.add(name=name, datatype=datatype, shape=output.shape)
        response.raw_output_contents.append(output.tobytes())
    box = Letterbox.fit(128, 128, layouts.SIDE, layouts.SIDE)
    sight = read_sight(response, 128, 128, box, Thresholds(0.7))
    np.testing.assert_allclose(sight.detections.boxes, layouts.FOUND.boxes[:1] * 2, atol=1e-3)
    assert sight.labels == ["2"]
    with pytest.raises(ProtocolError, match="must be sent tensors"):
        read_sight(response, 128, 128)


def test_typed_contents() -> None:
    def output(name: str, datatype: str, shape: list[int], **contents: list) -> object:
        return OUTPUT(
            name=name, datatype=datatype, shape=shape, contents=InferTensorContents(**contents)
        )

    response = ModelInferResponse(
        outputs=[
            output("boxes", "FP32", [1, 4], fp32_contents=[1, 2, 3, 4]),
            output("scores", "FP32", [1], fp32_contents=[0.5]),
            output("classes", "INT32", [1], int_contents=[3]),
        ]
    )
    sight = read_sight(response, 640, 360)
    assert (sight.detections.boxes.tolist(), sight.labels) == ([[1, 2, 3, 4]], ["3"])


def test_an_image_comes_back() -> None:
    sight = read_sight(raw_response("1", "output_image", jpeg(picture(64, 48))), 64, 48)
    assert sight.image is not None and sight.image.shape == (48, 64, 3)
    with pytest.raises(ProtocolError, match="damaged"):
        read_sight(raw_response("1", "output_image", b"none"), 64, 48)


def test_tensors_of_another_size_than_they_say() -> None:
    response = detections_response("1", [[1, 2, 3, 4]])
    response.raw_output_contents[1] = b"1234"
    with pytest.raises(ProtocolError, match=r"'boxes' is not of its shape \[1, 4\]"):
        read_sight(response, 640, 360)
