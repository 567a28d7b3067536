"""The short way to read a request is only ever a short way: it says what the long one says."""

import random
from typing import Any

import orjson
import pytest
from mlserver.types import InferenceRequest

from mlserver_streaming.errors import MLServerError
from mlserver_streaming.regions.regions import Regions
from mlserver_streaming.rest import read_request as reading
from mlserver_streaming.rest.read_request import read_request
from mlserver_streaming.rest.usual_request import usual_request
from mlserver_streaming.settings import LimitSettings, SharedMemorySettings
from mlserver_streaming.tensors.steps import finish

LIMITS = LimitSettings(inputs=3, elements=40)
USUAL = {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": ["a word"]}
ODD: list[Any] = [None, True, 0, 1, -1, 2**63, 1.5, "", "ü", [], ["a"], {}, {"a": [1]}, [1, [2]]]
PARAMETERS: list[Any] = [
    *({"delay": 0, "sequence_id": "s"}, {"content_type": "str"}, {"content_type": 1}, {}, None),
    *({"headers": {"a": "b"}}, {"headers": 1}, {"binary_data": True}, {"binary_data_size": 4}),
    *({"binary_data_output": False}, {"shared_memory_region": "r"}, {"p": [[1]]}, {"p": None}),
    *({f"p{i}": i for i in range(4)}, {"timeout": 5, "self": 1, "": 2}, {"p": 1.5, "q": False}),
]


def some_tensor(chance: random.Random) -> Any:
    count = chance.choice([0, 1, 1, 1, 2, 30])
    kind = chance.choice([*["BYTES"] * 6, "FP32", "FP64", "INT64", "BOOL", "BF16", "what"])
    element = {"BYTES": "a word", "FP32": 1.5, "FP64": 2}.get(kind, 1)
    tensor = {"name": "prompt", "shape": [count], "datatype": kind, "data": [element] * count}
    if chance.random() < 0.3:
        tensor["parameters"] = chance.choice(PARAMETERS)
    if chance.random() < 0.2:
        tensor[chance.choice([*tensor, "more"])] = chance.choice(ODD)
    if chance.random() < 0.1:
        del tensor[chance.choice(list(tensor))]
    return chance.choice(ODD) if chance.random() < 0.03 else tensor


def some_request(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {
        "inputs": [some_tensor(chance) for _ in range(chance.choice([1, 1, 2, 4]))]
    }
    if chance.random() < 0.3:
        found["id"] = chance.choice(["an id", "", None, 1])
    if chance.random() < 0.3:
        found["parameters"] = chance.choice(PARAMETERS)
    if chance.random() < 0.1:
        found["outputs"] = chance.choice([[], [{"name": "output"}], None])
    if chance.random() < 0.1:
        found[chance.choice([*found, "more"])] = chance.choice(ODD)
    return found


def read(body: bytes) -> Any:
    """What comes of a body: all that can be seen of the request, or the error."""
    own = Regions(SharedMemorySettings()).of
    try:
        request, outputs, _ = finish(read_request(body, None, LIMITS, None, lambda: own(False)))
    except MLServerError as error:
        return type(error), str(error)
    return seen(request), outputs


def seen(request: InferenceRequest) -> Any:
    tensors = [
        (vars(each), each.parameters and each.parameters.model_extra, type(each.data.root))
        for each in request.inputs
    ]
    dumped = request.model_dump(), request.model_dump_json(), request.model_fields_set
    return dumped, repr(request), tensors, request.parameters and request.parameters.model_extra


def test_the_short_way_says_what_the_long_one_says(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(15)
    bodies = [orjson.dumps(some_request(chance)) for _ in range(3000)]
    taken = sum(usual_request(orjson.loads(body), LIMITS) is not None for body in bodies)
    assert taken > 300
    short = [read(body) for body in bodies]
    monkeypatch.setattr(reading, "usual_request", lambda parsed, limits: None)
    for body, found in zip(bodies, short, strict=True):
        assert found == read(body), body


@pytest.mark.parametrize(
    "given",
    [
        {"inputs": [USUAL]},
        {"inputs": [USUAL], "id": "1", "parameters": {"delay": 0}},
        {"inputs": [USUAL | {"parameters": {"content_type": "str"}}]},
        {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2.5]}]},
    ],
)
def test_what_most_callers_send_goes_the_short_way(given: dict[str, Any]) -> None:
    assert usual_request(given, LIMITS) is not None
