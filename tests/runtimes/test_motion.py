"""MotionModel, as a client of a stream sees it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import numpy as np
import pytest
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.vision.detections import select
from mlserver_streaming.vision.jpeg import decode
from mlserver_streaming.vision.motion import Background
from mlserver_streaming.vision.scene import moving_scene
from runtimes.motion import MotionModel
from tests.runtimes.asking import answers, ask, error_of, settings_of
from tests.vision.jpegs import jpeg, picture

FRAMES = [jpeg(image) for image in moving_scene(24, width=320, height=180)]


@pytest.fixture
async def model() -> AsyncIterator[MotionModel]:
    loaded = MotionModel(settings_of("motion"))
    await loaded.load()
    yield loaded
    await loaded.unload()


def boxes(response: InferenceResponse) -> Any:
    return response.outputs[1].data.root


def plain(frames: Iterable[bytes]) -> list[Any]:
    """The boxes of every frame, without a runtime."""
    background = Background()
    return [select(background.update(decode(frame))).boxes for frame in frames]


def same(responses: list[InferenceResponse], expected: list[Any]) -> None:
    assert len(responses) == len(expected)
    for response, wanted in zip(responses, expected, strict=True):
        np.testing.assert_array_equal(boxes(response), wanted)


def request_of(frame: bytes, **more: Any) -> InferenceRequest:
    return ask("image", [frame], **more)


async def test_a_stream_is_watched_in_its_order(model: MotionModel) -> None:
    responses = await answers(
        model, *(request_of(frame, id=str(index)) for index, frame in enumerate(FRAMES))
    )
    assert [response.id for response in responses] == [str(n) for n in range(len(FRAMES))]
    same(responses, plain(FRAMES))
    assert len(boxes(responses[-1])) >= 3
    labels = responses[-1].parameters.model_extra["labels"]
    assert labels == ["moving"] * len(boxes(responses[-1]))


async def test_frames_of_one_request(model: MotionModel) -> None:
    responses = await answers(model, ask("image", FRAMES))
    same(responses, plain(FRAMES))
    assert [r.parameters.model_extra["frame_index"] for r in responses] == list(range(24))


async def test_streams_have_backgrounds_of_their_own(model: MotionModel) -> None:
    back = FRAMES[::-1]
    there, again = await asyncio.gather(
        answers(model, *map(request_of, FRAMES)), answers(model, *map(request_of, back))
    )
    same(there, plain(FRAMES))
    same(again, plain(back))


def in_sequence(frames: list[bytes], name: str) -> list[InferenceRequest]:
    last = len(frames) - 1
    return [
        request_of(frame, sequence_id=name, sequence_start=n == 0, sequence_end=n == last)
        for n, frame in enumerate(frames)
    ]


async def test_a_sequence_goes_on_from_call_to_call(model: MotionModel) -> None:
    responses = []
    for request in in_sequence(FRAMES, "door"):
        responses += await answers(model, request)
    same(responses, plain(FRAMES))
    assert len(model.sequences) == 0


async def test_concurrent_calls_of_a_sequence_keep_its_order(model: MotionModel) -> None:
    """As Triton's clients stream: each request is a call of its own, all of them at once."""
    calls = [answers(model, request) for request in in_sequence(FRAMES, "door")]
    responses = [one for (one,) in await asyncio.gather(*calls)]
    same(responses, plain(FRAMES))


async def test_a_cancelled_call_does_not_hold_up_its_sequence(model: MotionModel) -> None:
    requests = in_sequence(FRAMES, "door")
    tasks = [asyncio.create_task(answers(model, request)) for request in requests]
    await asyncio.sleep(0)
    tasks[3].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[3], asyncio.CancelledError)
    assert all(len(one) == 1 for index, one in enumerate(done) if index != 3)


async def test_sequences_side_by_side_in_one_stream(model: MotionModel) -> None:
    back = FRAMES[::-1]
    mixed = [
        request
        for pair in zip(in_sequence(FRAMES, "a"), in_sequence(back, "b"), strict=True)
        for request in pair
    ]
    responses = await answers(model, *mixed)
    same(responses[::2], plain(FRAMES))
    same(responses[1::2], plain(back))


async def test_a_placeholder_starts_and_ends_a_sequence(model: MotionModel) -> None:
    def placeholder(**flags: Any) -> InferenceRequest:
        return ask("image", [b"1"], sequence_id=5, **flags)

    responses = await answers(
        model,
        placeholder(sequence_start=True),
        *(request_of(frame, sequence_id=5) for frame in FRAMES),
        placeholder(sequence_end=True),
    )
    assert responses[0].outputs == responses[-1].outputs == []
    same(responses[1:-1], plain(FRAMES))


async def test_a_bad_frame_costs_its_own_response(model: MotionModel) -> None:
    frames = [*FRAMES[:10], FRAMES[10][:300], *FRAMES[10:]]
    responses = await answers(model, *map(request_of, frames))
    assert error_of(responses[10])[0] == 422
    same(responses[:10] + responses[11:], plain(FRAMES))


async def test_a_change_of_size_begins_anew(model: MotionModel) -> None:
    other = jpeg(picture(64, 48))
    responses = await answers(model, *map(request_of, [*FRAMES, other, other]))
    assert len(boxes(responses[24])) == len(boxes(responses[25])) == 0


async def test_tensors_of_both_kinds(model: MotionModel) -> None:
    stack = np.stack([decode(frame)[..., ::-1].transpose(2, 0, 1) for frame in FRAMES])
    expected = plain(FRAMES)
    for datatype, data in (("UINT8", stack), ("FP32", (stack / 255).astype(np.float32))):
        request = ask("images", [], shape=list(data.shape), datatype=datatype)
        request.inputs[0].data.root = data
        same(await answers(model, request), expected)


async def test_tracks_last(model: MotionModel) -> None:
    responses = await answers(model, *(request_of(frame, track=True) for frame in FRAMES))
    last = [response.outputs[-1].data.root.tolist() for response in responses[-6:]]
    assert responses[-1].outputs[-1].name == "track_ids"
    # What is seen at the end has been followed for a while.
    assert len(set.intersection(*map(set, last)) - {-1}) >= 3


async def test_settings_reach_the_background() -> None:
    loaded = MotionModel(settings_of("motion", min_area=0.2, confidence=0.9))
    await loaded.load()
    responses = await answers(loaded, *map(request_of, FRAMES))
    assert sum(len(boxes(response)) for response in responses) == 0
    await loaded.unload()
    with pytest.raises(ValueError, match="min_area"):
        await MotionModel(settings_of("motion", min_area=3)).load()
