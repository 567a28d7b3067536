import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from mlserver_streaming.errors import RequestFailedError, TooLargeError, UnsupportedError
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.streams import collect as collect_module
from mlserver_streaming.streams.collect import collect

MODEL = SimpleNamespace(name="m", version="v1")


def response(*outputs, **parameters):
    return InferenceResponse.model_construct(
        model_name="m",
        parameters=Parameters(**parameters) if parameters else None,
        outputs=[
            ResponseOutput.model_construct(
                name=name,
                shape=shape,
                datatype=datatype,
                parameters=None,
                data=TensorData.model_construct(root=data),
            )
            for name, shape, datatype, data in outputs
        ],
    )


async def collected(*responses, **limits):
    async def stream():
        for each in responses:
            yield each

    return await collect(MODEL, stream(), LimitSettings(**limits))


def word(text):
    return "output", [1], "BYTES", [text]


async def test_words_become_one_tensor():
    found = await collected(response(word("a")), response(word(" b")), response(word(b" c")))
    (output,) = found.outputs
    assert (output.shape, output.data.root) == ([3], ["a", " b", b" c"])


async def test_arrays_stay_arrays():
    ones = ("x", [1, 2], "FP32", np.ones((1, 2), np.float32))
    (output,) = (await collected(response(ones), response(ones))).outputs
    assert output.shape == [2, 2]
    assert isinstance(output.data.root, np.ndarray)
    assert output.data.root.shape == (2, 2)


async def test_arrays_and_lists_together_become_a_list():
    (output,) = (
        await collected(
            response(("x", [2], "FP32", np.ones(2, np.float32))), response(("x", [1], "FP32", [2]))
        )
    ).outputs
    assert (output.shape, output.data.root) == ([3], [1, 1, 2])


async def test_scalars_count_as_one_element():
    scalar = ("x", [], "FP32", 1.5)
    (output,) = (await collected(response(scalar), response(scalar))).outputs
    assert (output.shape, output.data.root) == ([2], [1.5, 1.5])


async def test_each_output_by_itself():
    found = await collected(response(word("a"), ("n", [1], "INT8", [1])), response(word("b")))
    assert [(output.name, output.shape) for output in found.outputs] == [
        ("output", [2]),
        ("n", [1]),
    ]


async def test_no_response_at_all():
    found = await collected()
    assert (found.model_name, found.model_version, found.outputs) == ("m", "v1", [])


async def test_what_was_said_of_one_response_is_not_said_of_all():
    assert (await collected(response(word("a"), index=0))).parameters.index == 0
    both = await collected(response(word("a"), index=0), response(word("b"), index=1))
    assert both.parameters is None


async def test_a_failed_response_fails_the_whole():
    with pytest.raises(RequestFailedError, match="bad"):
        await collected(response(word("a")), response(error="bad", error_code=422))


@pytest.mark.parametrize(
    "other", [("output", [1, 2], "BYTES", [["a", "b"]]), ("output", [1], "INT8", [1])]
)
async def test_tensors_that_do_not_fit_together(other):
    with pytest.raises(UnsupportedError, match="ask for them as a stream"):
        await collected(response(word("a")), response(other))


async def test_collecting_takes_turns(monkeypatch):
    monkeypatch.setattr(collect_module, "TURN_SECONDS", 0.0)
    rounds = 0

    async def go_round():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(go_round())
    await collected(*[response(word("a")) for _ in range(100)])
    beside.cancel()
    assert rounds >= 99


@pytest.mark.parametrize("limits", [{"collected_responses": 2}, {"collected_bytes": 1024}])
async def test_more_than_may_be_collected_is_refused_and_told_to_stream(limits):
    some = [response(word("x" * 400)) for _ in range(2)]
    assert (await collected(*some, **limits)).outputs[0].shape == [2]
    asked_for = 0

    async def endless():
        nonlocal asked_for
        while True:
            asked_for += 1
            yield response(word("x" * 400))

    with pytest.raises(TooLargeError, match="ask for it as a stream") as caught:
        await collect(MODEL, endless(), LimitSettings(**limits))
    assert caught.value.status_code == 413
    assert asked_for == 3


async def test_one_response_is_never_too_large():
    (output,) = (await collected(response(word("x" * 2000)), collected_bytes=1024)).outputs
    assert output.data.root == ["x" * 2000]


async def test_a_list_may_come_after_arrays():
    numbers = ("x", [2], "FP32", np.ones(2, np.float32))
    (output,) = (
        await collected(
            *[response(numbers)] * 2, response(("x", [1], "FP32", [2])), response(numbers)
        )
    ).outputs
    assert (output.shape, output.data.root) == ([7], [1, 1, 1, 1, 2, 1, 1])
