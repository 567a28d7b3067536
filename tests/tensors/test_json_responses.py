"""Large responses as JSON: the same as when written at once, in short steps."""

from typing import Any

import numpy as np
import orjson
import pytest
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from mlserver_streaming.rest.generate import FlatAnswers
from mlserver_streaming.tensors.json_codec import (
    encode_response,
    encode_unless_large,
    is_large,
)
from mlserver_streaming.tensors.json_responses import NUMBERS, written
from mlserver_streaming.tensors.steps import finish

MANY = 100_000


def response(datatype: str, data: Any, shape: list[int] | None = None) -> InferenceResponse:
    shape = shape or (list(data.shape) if isinstance(data, np.ndarray) else [len(data)])
    output = ResponseOutput.model_construct(
        name="y",
        shape=shape,
        datatype=datatype,
        parameters=Parameters(content_type="x", more=1) if datatype == "INT8" else None,
        data=TensorData.model_construct(root=data),
    )
    word = ResponseOutput.model_construct(
        name="word", shape=[1], datatype="BYTES", parameters=None, data=["a"]
    )
    return InferenceResponse.model_construct(
        model_name="m",
        model_version="v",
        id='i"d',
        parameters=Parameters(said="that"),
        outputs=[output, word],
    )


LARGE = {
    "array": response("FP32", np.arange(MANY, dtype=np.float32)),
    "rows": response("FP32", np.arange(MANY, dtype=np.float32).reshape(1, 2, 5, -1)),
    "long rows": response("FP32", np.zeros((2, MANY), np.float32)),
    "short rows": response("INT8", np.ones((MANY, 2), np.int8)),
    "big-endian": response("INT32", np.arange(MANY, dtype=">i4")),
    "columns": response("INT32", np.arange(MANY, dtype="<i4").reshape(2, -1).T),
    "half": response("FP16", np.ones(MANY, np.float16)),
    "list": response("INT64", list(range(MANY))),
    "nested list": response("FP64", [[0.5] * 100] * 1000, [1000, 100]),
    "nan": response("FP32", np.full(MANY, np.nan, np.float32)),
    "words": response("BYTES", ["é", b"b"] * 5000),
    "binary": response("BYTES", [b"\xff", "a"] * 5000),
    "one text": response("BYTES", ["é\n" * MANY]),
    "one text, as bytes": response("BYTES", [("é\n" * MANY).encode()]),
    "one binary": response("BYTES", [b"\xff\xd8\n" * MANY]),
}


@pytest.mark.parametrize("what", LARGE)
def test_it_is_as_when_written_at_once(what: str) -> None:
    large = LARGE[what]
    assert is_large(large)
    assert encode_unless_large(large) is None
    assert orjson.loads(b"".join(finish(written(large)))) == orjson.loads(encode_response(large))


@pytest.mark.parametrize("what", ["array", "rows", "short rows", "list", "nested list", "words"])
def test_it_is_written_in_short_steps(what: str) -> None:
    assert sum(1 for _ in written(LARGE[what])) >= min(MANY // NUMBERS, 9)


def test_outputs_whose_bytes_follow_are_described_only() -> None:
    large = LARGE["array"]
    found = orjson.loads(b"".join(finish(written(large, {0: 4 * MANY}))))
    assert found["outputs"][0]["parameters"] == {"binary_data_size": 4 * MANY}
    assert "data" not in found["outputs"][0]


@pytest.mark.parametrize("what", LARGE)
@pytest.mark.parametrize("one_text", [True, False])
def test_the_flat_form_is_as_when_written_at_once(what: str, one_text: bool) -> None:
    answers, large = FlatAnswers(with_id=True, one_text=one_text), LARGE[what]
    assert answers.encode(large) is None
    found = orjson.loads(b"".join(finish(answers.written(large))))
    assert found == orjson.loads(answers.at_once(large))


def test_short_responses_are_not_large() -> None:
    assert not is_large(response("BYTES", ["a"] * 16))
    assert not is_large(response("FP32", np.zeros(1000, np.float32)))
    assert not is_large(response("FP32", [0.5] * 1000))
