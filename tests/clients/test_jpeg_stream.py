import asyncio
import threading

import cv2
import grpc
import numpy as np
import pytest

from clients.errors import (
    FrameError,
    NoResponseError,
    ProtocolError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from clients.jpeg_stream import IN_FLIGHT, JpegStream
from tests.clients.responses import element, failed_response, raw_response
from vision.jpeg import encode
from vision.scene import scene_frame

FRAMES = [b"frame %d" % index for index in range(40)]


def echo(requests, context):
    for request in requests:
        yield raw_response(request.id, "output_image", element(request.raw_input_contents[0]))


def fail_some(requests, context):
    """Every frame that ends in 3 is corrupt."""
    for request in requests:
        data = element(request.raw_input_contents[0])
        if data.endswith(b"3"):
            yield failed_response(request.id, "it is not a JPEG", 422)
        else:
            yield raw_response(request.id, "output_image", data)


async def test_one_frame_of_pixels_and_one_of_bytes(serve_grpc):
    image = scene_frame(3)
    async with JpegStream(port=serve_grpc(echo)) as stream:
        answer = await stream(image)
        assert (answer.shape, answer.dtype) == (image.shape, np.uint8)
        assert np.abs(answer.astype(int) - image).mean() < 3
        assert await stream(encode(image)) == encode(image)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        assert (await stream(grey)).shape == grey.shape


async def test_the_request_names_model_tensor_and_id(serve_grpc):
    seen = []

    def record(requests, context):
        for request in requests:
            seen.append(request)
            yield raw_response(request.id, "output_image", b"x")

    async with JpegStream(port=serve_grpc(record), model="m") as stream:
        await stream(b"a")
        await stream(b"b")
    assert [(r.model_name, r.id, r.inputs[0].name) for r in seen] == [
        ("m", "0", "image"),
        ("m", "1", "image"),
    ]


async def test_map_keeps_the_order_of_the_frames(serve_grpc):
    def backwards(requests, context):
        """Answers the first frame, then the others in pairs, the later one first."""
        first = next(requests)
        yield raw_response(first.id, "output_image", element(first.raw_input_contents[0]))
        for request in requests:
            for each in (next(requests), request):
                yield raw_response(each.id, "output_image", element(each.raw_input_contents[0]))

    async with JpegStream(port=serve_grpc(backwards)) as stream:
        assert [image async for image in stream.map(FRAMES[:21])] == FRAMES[:21]


async def test_no_more_frames_on_the_wire_than_in_flight(serve_grpc):
    taken = 0

    def frames():
        nonlocal taken
        for frame in FRAMES:
            taken += 1
            yield frame

    most = 0
    async with JpegStream(port=serve_grpc(echo), in_flight=4) as stream:
        given = 0
        async for _ in stream.map(frames()):
            given += 1
            most = max(most, taken - given)
    assert given == taken == len(FRAMES)
    # One more may be taken as soon as a response has left its place.
    assert most <= 4


async def test_frames_really_overlap(serve_grpc):
    def answer_in_batches(requests, context):
        first = next(requests)
        yield raw_response(first.id, "output_image", b"0")
        while batch := [request for _, request in zip(range(IN_FLIGHT), requests, strict=False)]:
            for request in batch:
                yield raw_response(request.id, "output_image", b"x")

    # A stream with fewer frames on the wire would wait for ever.
    async with JpegStream(port=serve_grpc(answer_in_batches), timeout=5) as stream:
        assert len([image async for image in stream.map(FRAMES[: IN_FLIGHT * 2 + 1])]) == 17


async def test_a_slow_source_does_not_hold_responses_back(serve_grpc):
    answered = asyncio.Event()

    async def camera():
        yield b"first"
        await answered.wait()
        yield b"second"

    images = []
    async with JpegStream(port=serve_grpc(echo), timeout=5) as stream:
        async for image in stream.map(camera()):
            images.append(image)
            answered.set()
    assert images == [b"first", b"second"]


async def test_a_failed_frame_stands_in_its_place(serve_grpc):
    async with JpegStream(port=serve_grpc(fail_some)) as stream:
        images = [image async for image in stream.map(FRAMES)]
        assert len(images) == len(FRAMES)
        for frame, image in zip(FRAMES, images, strict=True):
            if frame.endswith(b"3"):
                assert isinstance(image, FrameError)
                assert (str(image), image.code) == ("it is not a JPEG (error 422)", 422)
            else:
                assert image == frame
        with pytest.raises(FrameError, match="not a JPEG"):
            await stream(b"3")
        assert await stream(b"good") == b"good"


async def test_a_damaged_response_fails_its_frame_alone(serve_grpc):
    def damage(requests, context):
        for request in requests:
            yield raw_response(request.id, "output_image", b"no JPEG")

    async with JpegStream(port=serve_grpc(damage)) as stream:
        responses = [r async for r in stream.responses([scene_frame(0), scene_frame(1)])]
    assert all("the response is damaged" in str(response.error) for response in responses)


async def test_latency_of_each_frame(serve_grpc):
    async with JpegStream(port=serve_grpc(fail_some)) as stream:
        latencies = [response.latency async for response in stream.responses(FRAMES)]
        assert (await stream.infer(b"x")).latency > 0
    assert len(latencies) == len(FRAMES)
    assert all(0 < latency < 5 for latency in latencies)


async def test_leaving_early_ends_the_call(serve_grpc):
    over = threading.Event()

    def watched(requests, context):
        context.add_callback(over.set)
        return echo(requests, context)

    async with JpegStream(port=serve_grpc(watched)) as stream:
        images = stream.map(FRAMES)
        assert await anext(images) == FRAMES[0]
        await images.aclose()
        assert await stream(b"again") == b"again"
    assert await asyncio.to_thread(over.wait, 5)


async def test_a_cancelled_frame_leaves_the_stream_usable(serve_grpc):
    release = threading.Event()

    def slow_second(requests, context):
        for index, request in enumerate(requests):
            if index == 1:
                release.wait(5)
            yield raw_response(request.id, "output_image", element(request.raw_input_contents[0]))

    async with JpegStream(port=serve_grpc(slow_second), timeout=5) as stream:
        await stream(b"a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stream(b"b")
        release.set()
        assert await stream(b"c") == b"c"


async def test_silence_is_a_timeout(serve_grpc):
    over = threading.Event()

    def wait(requests, context):
        context.add_callback(over.set)
        over.wait(5)
        yield from ()

    async with JpegStream(port=serve_grpc(wait), timeout=0.05) as stream:
        with pytest.raises(NoResponseError, match=r"within 0\.05 s"):
            async for _ in stream.map(FRAMES):
                pass


@pytest.mark.parametrize("kind", [list, iter])
async def test_a_refused_call_tells_the_servers_reason(serve_grpc, kind):
    def refuse(requests, context):
        # It takes a request to know which model is meant.
        next(requests)
        context.abort(grpc.StatusCode.NOT_FOUND, "There is no model 'x' here.")
        yield

    async with JpegStream(port=serve_grpc(refuse)) as stream:
        with pytest.raises(RefusedError, match="NOT_FOUND: There is no model 'x' here"):
            async for _ in stream.map(kind(FRAMES)):
                pass
        with pytest.raises(RefusedError, match="NOT_FOUND"):
            await stream(b"later")


async def test_a_server_that_ends_the_stream_early(serve_grpc):
    def answer_one(requests, context):
        yield raw_response(next(requests).id, "output_image", b"x")

    async with JpegStream(port=serve_grpc(answer_one)) as stream:
        assert await stream(b"a") == b"x"
        with pytest.raises(StreamCutError):
            await stream(b"b")


async def test_an_answer_to_no_frame(serve_grpc):
    def confuse(requests, context):
        for _ in requests:
            yield raw_response("elsewhere", "output_image", b"x")

    async with JpegStream(port=serve_grpc(confuse)) as stream:
        with pytest.raises(ProtocolError, match="'elsewhere'"):
            await stream(b"a")


async def test_nobody_there(closed_port):
    async with JpegStream(port=closed_port) as stream:
        with pytest.raises(UnreachableError, match="nobody answers"):
            async for _ in stream.map(FRAMES):
                pass


async def test_an_error_of_the_frames_comes_after_the_responses(serve_grpc):
    def frames():
        yield from FRAMES[:3]
        raise OSError("the disk is gone")

    images = []
    async with JpegStream(port=serve_grpc(echo)) as stream:
        with pytest.raises(OSError, match="the disk is gone"):
            async for image in stream.map(frames()):
                images.append(image)
        assert images == FRAMES[:3]
        assert [image async for image in stream.map([])] == []


def test_in_flight_is_checked():
    with pytest.raises(ValueError, match="in_flight"):
        JpegStream(in_flight=0)
