"""What a store holds of a stream: its head and the request come back as they were, or not."""

import numpy as np
import pytest
from mlserver.types import InferenceRequest, Parameters, RequestOutput, TensorData

from mlserver_streaming.models.messages import request_input
from mlserver_streaming.recordings.recording import MalformedError
from mlserver_streaming.resume.head import Head
from mlserver_streaming.resume.request_bytes import MAX_REQUEST_BYTES, pack_head, unpack_head
from mlserver_streaming.resume.seal import ForgedError, Seal
from tests.streams.planes import ask

HEAD = Head("s" * 22, "me", "m", None, "1", "rest", 1.5, 60.0, {"raw": True})


def data(request: InferenceRequest) -> list:
    found = [tensor.data for tensor in request.inputs]
    return [each.root if isinstance(each, TensorData) else each for each in found]


def test_a_head_and_its_request():
    request = ask("hello", id="7", delay=0.5, nested={"a": [1, None]})
    head, found = unpack_head(pack_head(HEAD, request))
    assert (head, found) == (HEAD, request)


def test_arrays_and_bytes():
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    inputs = [
        request_input("a", "FP32", [2, 3], array, Parameters(content_type="np")),
        request_input("b", "BYTES", [2], [b"\xff", "☃"], None),
    ]
    _, found = unpack_head(pack_head(HEAD, InferenceRequest(id="7", inputs=inputs)))
    first, second = data(found)
    assert np.array_equal(first, array) and first.dtype == array.dtype
    assert second == [b"\xff", "☃".encode()]
    assert found.inputs[0].parameters.content_type == "np"


def test_a_callers_keys_stay_here():
    request = ask("hello")
    request.parameters = Parameters(headers={"authorization": "Bearer secret"}, delay=1)
    packed = pack_head(HEAD, request)
    assert b"secret" not in packed
    assert unpack_head(packed)[1].parameters.model_extra == {"delay": 1}


@pytest.mark.parametrize("kind", ["none", "large", "outputs"])
def test_what_cannot_be_asked_again(kind):
    request = None if kind == "none" else ask("x" * (MAX_REQUEST_BYTES if kind == "large" else 1))
    if kind == "outputs":
        request.outputs = [RequestOutput(name="y")]
    assert unpack_head(pack_head(HEAD, request)) == (HEAD, None)


@pytest.mark.parametrize("cut", [0, 3, 10, 100, -1])
def test_what_is_no_head(cut):
    with pytest.raises(MalformedError):
        unpack_head(pack_head(HEAD, ask())[:cut])


def test_a_seal_holds_for_its_place_secret_and_bytes():
    seal = Seal(b"x" * 16)
    sealed = seal.close(("chunk", "s", 1, 2), b"said")
    assert seal.open(("chunk", "s", 1, 2), sealed) == b"said"
    for other, place, what in (
        (seal, ("chunk", "s", 1, 3), sealed),
        (seal, ("chunk", "s'", 1, 2), sealed),
        (Seal(b"y" * 16), ("chunk", "s", 1, 2), sealed),
        (seal, ("chunk", "s", 1, 2), sealed[:-1]),
        (seal, ("chunk", "s", 1, 2), b""),
    ):
        with pytest.raises(ForgedError):
            other.open(place, what)
