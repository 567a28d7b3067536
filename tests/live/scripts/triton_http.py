"""Triton's HTTP client with its defaults: binary tensors both ways. Prints what it saw as JSON."""

import json
import sys
from typing import Any

import cv2
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

client = triton.InferenceServerClient(sys.argv[1])
seen: dict[str, Any] = {}


def tensor(name: str, array: np.ndarray, **form: Any) -> triton.InferInput:
    found = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    found.set_data_from_numpy(array, **form)
    return found


def infer(model: str, *inputs: triton.InferInput, **arguments: Any) -> triton.InferResult:
    return client.infer(model, list(inputs), **arguments)


def refused(*arguments: Any, **named: Any) -> list[str]:
    try:
        infer(*arguments, **named)
    except InferenceServerException as error:
        return [str(error.status()), error.message()]
    return []


seen["ready"] = client.is_server_ready() and client.is_model_ready("text-model")
seen["metadata"] = client.get_model_metadata("text-model")["inputs"][0]["name"]
seen["index"] = sorted(model["name"] for model in client.get_model_repository_index())

# An odd number of elements and a long one: what numpy sees lies anywhere in the body.
numbers = np.random.default_rng(1).random((1, 3, 65, 67), np.float32)
wanted = [numbers.sum(dtype=np.float64), numbers.min(), numbers.max()]
for form, arguments in {
    "binary": {},
    "json answer": {"outputs": [triton.InferRequestedOutput("stats", binary_data=False)]},
    "gzip": {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"},
    "deflate": {"request_compression_algorithm": "deflate"},
}.items():
    result = infer("tensor-sum", tensor("x", numbers), request_id="7", **arguments)
    size = result.get_output("stats").get("parameters", {}).get("binary_data_size")
    close = bool(np.allclose(result.as_numpy("stats").ravel(), wanted, rtol=1e-3))
    seen[form] = [close, size, result.get_response()["id"]]
half = infer("tensor-sum", tensor("x", np.array([1, 2.5], np.float16)))
seen["half"] = half.as_numpy("stats").ravel().tolist()
seen["json"] = (
    infer("tensor-sum", tensor("x", numbers, binary_data=False)).as_numpy("stats").ravel().size
)

image = np.full((48, 64, 3), (40, 120, 200), np.uint8)
coded = cv2.imencode(".jpg", image)[1].tobytes()
frames = tensor("image", np.array([coded, coded], np.object_))
answered = infer("jpeg-model", frames, parameters={"quality": 90}).as_numpy("output_image")
back = [cv2.imdecode(np.frombuffer(element, np.uint8), 1) for element in answered]
seen["images"] = [list(each.shape) for each in back]
seen["close"] = bool(all(np.abs(each.astype(int) - image).max() < 8 for each in back))

text = tensor("prompt", np.array(["a é".encode()], np.object_))
words = infer("text-model", text, parameters={"delay": 0}).as_numpy("output")
seen["words"] = [word.decode() for word in words]

bad = tensor("image", np.array([b"no JPEG\xff"], np.object_))
seen["bad image"] = refused("jpeg-model", bad)
seen["no model"] = refused("nope", text)
wrong = triton.InferInput("x", [5], "FP32")
wrong.set_data_from_numpy(np.zeros(5, np.float32))
wrong.set_shape([6])
seen["wrong shape"] = refused("tensor-sum", wrong)
seen["after"] = (
    infer("tensor-sum", tensor("x", np.ones(2, np.float32))).as_numpy("stats").ravel().tolist()
)
print(json.dumps(seen))
