import pytest
from mlserver.grpc.dataplane_pb2 import InferTensorContents, ModelInferResponse

from clients.errors import ProtocolError
from clients.grpc_messages import bytes_output, bytes_request, response_error
from tests.clients.responses import failed_response, raw_response


def test_a_request_carries_raw_bytes_and_its_parameters():
    request = bytes_request(
        b"abc",
        model="m",
        request_id="7",
        tensor="image",
        parameters={"a": True, "b": 3, "c": 0.5, "d": "x"},
    )
    assert (request.model_name, request.id) == ("m", "7")
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("image", "BYTES", [1])
    assert list(request.raw_input_contents) == [b"\x03\x00\x00\x00abc"]
    assert request.parameters["a"].bool_param is True
    assert request.parameters["b"].int64_param == 3
    assert request.parameters["c"].string_param == "0.5"
    assert request.parameters["d"].string_param == "x"


def test_output_in_raw_and_in_typed_contents():
    assert bytes_output(raw_response("1", "output", b"word"), "output") == b"word"
    assert bytes_output(raw_response("1", "output", b""), "output") == b""
    tensor = ModelInferResponse.InferOutputTensor(
        name="output", contents=InferTensorContents(bytes_contents=[b"word"])
    )
    assert bytes_output(ModelInferResponse(outputs=[tensor]), "output") == b"word"


def test_an_output_that_is_not_there():
    with pytest.raises(ProtocolError, match=r"no output 'image' .*'output'"):
        bytes_output(raw_response("1", "output", b"word"), "image")
    with pytest.raises(ProtocolError, match="none"):
        bytes_output(ModelInferResponse(), "image")


def test_an_output_that_is_too_short():
    response = raw_response("1", "output", b"word")
    response.raw_output_contents[0] = response.raw_output_contents[0][:-1]
    with pytest.raises(ProtocolError, match="shorter"):
        bytes_output(response, "output")


def test_the_error_of_a_response():
    response = raw_response("1", "output", b"word")
    assert response_error(response) is None
    # Looking must not add the key.
    assert response_error(response) is None
    failed = failed_response("1", "no", 422)
    assert response_error(failed) == ("no", 422)
    del failed.parameters["error_code"]
    assert response_error(failed) == ("no", None)
