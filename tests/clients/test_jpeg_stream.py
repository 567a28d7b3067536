import asyncio
import threading
import time

import cv2
import grpc
import numpy as np
import pytest

from clients.credentials import Credentials
from clients.errors import (
    FrameError,
    NoResponseError,
    ProtocolError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from clients.jpeg_stream import CLOSE_S, IN_FLIGHT, JpegStream
from mlserver_streaming.vision.jpeg import encode
from mlserver_streaming.vision.scene import scene_frame
from tests.clients.responses import element, failed_response, raw_response

FRAMES = [b"frame %d" % index for index in range(40)]


class Record:
    """Echoes and keeps every request; of the first call it answers only some, if told so."""

    def __init__(self, answers=None):
        self.requests, self.calls, self._answers = [], 0, answers

    def __call__(self, requests, context):
        self.calls += 1
        over = threading.Event()
        context.add_callback(over.set)
        for index, request in enumerate(requests):
            self.requests.append(request)
            if self.calls == 1 and index == self._answers:
                over.wait(5)
                return
            yield raw_response(request.id, "output_image", element(request.raw_input_contents[0]))

    def flags(self):
        """The sequence id of each request, and its flag."""
        found = []
        for request in self.requests:
            parameters = request.parameters
            choice = parameters["sequence_id"].WhichOneof("parameter_choice")
            flags = [
                flag
                for flag in ("START", "END")
                if f"sequence_{flag.lower()}" in parameters
                and parameters[f"sequence_{flag.lower()}"].bool_param
            ]
            found.append((getattr(parameters["sequence_id"], choice), " ".join(flags)))
        return found


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


async def test_one_frame_of_pixels_and_one_of_bytes(serve_frames):
    image = scene_frame(3)
    async with JpegStream(port=serve_frames(echo)) as stream:
        answer = await stream(image)
        assert (answer.shape, answer.dtype) == (image.shape, np.uint8)
        assert np.abs(answer.astype(int) - image).mean() < 3
        assert await stream(encode(image)) == encode(image)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        assert (await stream(grey)).shape == grey.shape


async def test_the_request_names_model_tensor_and_id(serve_frames):
    seen = []

    def record(requests, context):
        for request in requests:
            seen.append(request)
            yield raw_response(request.id, "output_image", b"x")

    async with JpegStream(port=serve_frames(record), model="m") as stream:
        await stream(b"a")
        await stream(b"b")
    assert [(r.model_name, r.id, r.inputs[0].name) for r in seen] == [
        ("m", "1", "image"),
        ("m", "2", "image"),
    ]


async def test_the_key_goes_with_the_call(serve_frames):
    seen = []

    def record(requests, context):
        seen.append(dict(context.invocation_metadata()))
        return echo(requests, context)

    credentials = Credentials("k", "t")
    async with JpegStream(port=serve_frames(record), credentials=credentials) as stream:
        assert await stream(encode(scene_frame(0))) == encode(scene_frame(0))
    assert (seen[0]["x-api-key"], seen[0]["authorization"]) == ("k", "Bearer t")


async def test_start_goes_first_and_end_last(serve_grpc):
    async with JpegStream(port=serve_grpc(record := Record()), sequence_id="cam-1") as stream:
        assert record.flags() == [("cam-1", "START")]
        assert [image async for image in stream.map(FRAMES[:3])] == FRAMES[:3]
    assert record.flags() == [
        ("cam-1", "START"),
        *[("cam-1", "")] * 3,
        ("cam-1", "END"),
    ]
    first, *_, last = record.requests
    assert element(first.raw_input_contents[0]) == element(last.raw_input_contents[0]) == b"1"
    assert record.calls == 1


async def test_a_sequence_id_may_be_a_number_and_is_else_made_up(serve_grpc):
    async with JpegStream(port=serve_grpc(number := Record()), sequence_id=7):
        pass
    assert number.flags() == [(7, "START"), (7, "END")]
    made_up = [Record(), Record()]
    for record in made_up:
        async with JpegStream(port=serve_grpc(record)):
            pass
    ids = [{sequence_id for sequence_id, _ in record.flags()} for record in made_up]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("none", ["", 0])
async def test_frames_of_no_sequence(serve_grpc, none):
    async with JpegStream(port=serve_grpc(record := Record()), sequence_id=none) as stream:
        await stream(b"a")
        await stream(b"b")
    assert [dict(request.parameters) for request in record.requests] == [{}, {}]


@pytest.mark.parametrize("answered", [True, False], ids=["none in flight", "some in flight"])
async def test_an_error_of_the_caller_still_ends_the_sequence(serve_grpc, answered):
    record = Record(answers=None if answered else 1)
    left = 0.0
    with pytest.raises(OSError, match="the disk is gone"):
        async with JpegStream(port=serve_grpc(record), sequence_id="s") as stream:
            if answered:
                await stream(b"a")
            else:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await stream(b"a")
            left = time.perf_counter()
            raise OSError("the disk is gone")
    # Frames in flight are not waited for: END has a call of its own then.
    assert time.perf_counter() - left < CLOSE_S / 2
    assert record.flags() == [("s", "START"), ("s", ""), ("s", "END")]
    assert record.calls == (1 if answered else 2)


async def test_a_server_that_does_not_answer_end_is_hung_up_on(serve_grpc, monkeypatch):
    monkeypatch.setattr("clients.jpeg_stream.CLOSE_S", 0.2)
    began = time.perf_counter()
    async with JpegStream(port=serve_grpc(record := Record(answers=1)), sequence_id="s"):
        pass
    assert time.perf_counter() - began < 3
    assert record.flags() == [("s", "START"), ("s", "END")]


@pytest.mark.parametrize(
    ("code", "told"), [(429, "429: the sequence was not started: full"), (None, "UNKNOWN: ")]
)
async def test_a_start_that_fails_refuses_the_stream(serve_grpc, code, told):
    def refuse(requests, context):
        for request in requests:
            response = failed_response(request.id, "full", code or 0)
            if code is None:
                del response.parameters["error_code"]
            yield response

    with pytest.raises(RefusedError, match=told) as caught:
        async with JpegStream(port=serve_grpc(refuse)):
            pytest.fail("there is no stream")
    assert caught.value.status == (code or "UNKNOWN")


async def test_map_keeps_the_order_of_the_frames(serve_frames):
    def backwards(requests, context):
        """Answers the first frame, then the others in pairs, the later one first."""
        first = next(requests)
        yield raw_response(first.id, "output_image", element(first.raw_input_contents[0]))
        for request in requests:
            for each in (next(requests), request):
                yield raw_response(each.id, "output_image", element(each.raw_input_contents[0]))

    async with JpegStream(port=serve_frames(backwards)) as stream:
        assert [image async for image in stream.map(FRAMES[:21])] == FRAMES[:21]


async def test_no_more_frames_on_the_wire_than_in_flight(serve_frames):
    taken = 0

    def frames():
        nonlocal taken
        for frame in FRAMES:
            taken += 1
            yield frame

    most = 0
    async with JpegStream(port=serve_frames(echo), in_flight=4) as stream:
        given = 0
        async for _ in stream.map(frames()):
            given += 1
            most = max(most, taken - given)
    assert given == taken == len(FRAMES)
    # One more may be taken as soon as a response has left its place.
    assert most <= 4


async def test_frames_really_overlap(serve_frames):
    def answer_in_batches(requests, context):
        first = next(requests)
        yield raw_response(first.id, "output_image", b"0")
        while batch := [request for _, request in zip(range(IN_FLIGHT), requests, strict=False)]:
            for request in batch:
                yield raw_response(request.id, "output_image", b"x")

    # A stream with fewer frames on the wire would wait for ever.
    async with JpegStream(port=serve_frames(answer_in_batches), timeout=5) as stream:
        assert len([image async for image in stream.map(FRAMES[: IN_FLIGHT * 2 + 1])]) == 17


async def test_a_slow_source_does_not_hold_responses_back(serve_frames):
    answered = asyncio.Event()

    async def camera():
        yield b"first"
        await answered.wait()
        yield b"second"

    images = []
    async with JpegStream(port=serve_frames(echo), timeout=5) as stream:
        async for image in stream.map(camera()):
            images.append(image)
            answered.set()
    assert images == [b"first", b"second"]


async def test_a_failed_frame_stands_in_its_place(serve_frames):
    async with JpegStream(port=serve_frames(fail_some)) as stream:
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


async def test_a_damaged_response_fails_its_frame_alone(serve_frames):
    def damage(requests, context):
        for request in requests:
            yield raw_response(request.id, "output_image", b"no JPEG")

    async with JpegStream(port=serve_frames(damage)) as stream:
        responses = [r async for r in stream.responses([scene_frame(0), scene_frame(1)])]
    assert all("the response is damaged" in str(response.error) for response in responses)


async def test_latency_of_each_frame(serve_frames):
    async with JpegStream(port=serve_frames(fail_some)) as stream:
        latencies = [response.latency async for response in stream.responses(FRAMES)]
        assert (await stream.infer(b"x")).latency > 0
    assert len(latencies) == len(FRAMES)
    assert all(0 < latency < 5 for latency in latencies)


async def test_leaving_early_ends_the_call(serve_frames):
    over = threading.Event()

    def watched(requests, context):
        context.add_callback(over.set)
        return echo(requests, context)

    async with JpegStream(port=serve_frames(watched)) as stream:
        images = stream.map(FRAMES)
        assert await anext(images) == FRAMES[0]
        await images.aclose()
        assert await stream(b"again") == b"again"
    assert await asyncio.to_thread(over.wait, 5)


async def test_a_cancelled_frame_leaves_the_stream_usable(serve_frames):
    release = threading.Event()

    def slow_second(requests, context):
        for index, request in enumerate(requests):
            if index == 1:
                release.wait(5)
            yield raw_response(request.id, "output_image", element(request.raw_input_contents[0]))

    async with JpegStream(port=serve_frames(slow_second), timeout=5) as stream:
        await stream(b"a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stream(b"b")
        release.set()
        assert await stream(b"c") == b"c"


@pytest.mark.parametrize("answers", [0, 1], ids=["at START", "at a frame"])
async def test_silence_is_a_timeout(serve_grpc, answers):
    with pytest.raises(NoResponseError, match=r"within 0\.5 s"):
        async with JpegStream(port=serve_grpc(Record(answers)), timeout=0.5) as stream:
            assert answers
            async for _ in stream.map(FRAMES):
                pass


def refuse_call(requests, context):
    # It takes a request to know which model is meant.
    next(requests)
    context.abort(grpc.StatusCode.NOT_FOUND, "There is no model 'x' here.")
    yield


async def test_an_unknown_model_is_told_at_entry(serve_grpc):
    with pytest.raises(RefusedError, match="NOT_FOUND: There is no model 'x' here"):
        async with JpegStream(port=serve_grpc(refuse_call)):
            pytest.fail("there is no stream")


@pytest.mark.parametrize("kind", [list, iter])
async def test_without_a_sequence_the_first_frame_finds_out(serve_grpc, kind):
    async with JpegStream(port=serve_grpc(refuse_call), sequence_id="") as stream:
        with pytest.raises(RefusedError, match="NOT_FOUND: There is no model 'x' here"):
            async for _ in stream.map(kind(FRAMES)):
                pass
        with pytest.raises(RefusedError, match="NOT_FOUND"):
            await stream(b"later")


async def test_a_server_that_ends_the_stream_early(serve_frames):
    def answer_one(requests, context):
        yield raw_response(next(requests).id, "output_image", b"x")

    async with JpegStream(port=serve_frames(answer_one)) as stream:
        assert await stream(b"a") == b"x"
        with pytest.raises(StreamCutError):
            await stream(b"b")


async def test_an_answer_to_no_frame(serve_frames):
    def confuse(requests, context):
        for _ in requests:
            yield raw_response("elsewhere", "output_image", b"x")

    async with JpegStream(port=serve_frames(confuse)) as stream:
        with pytest.raises(ProtocolError, match="'elsewhere'"):
            await stream(b"a")


async def test_nobody_there(closed_port):
    with pytest.raises(UnreachableError, match="nobody answers"):
        async with JpegStream(port=closed_port):
            pytest.fail("there is no stream")
    async with JpegStream(port=closed_port, sequence_id="") as stream:
        with pytest.raises(UnreachableError, match="nobody answers"):
            async for _ in stream.map(FRAMES):
                pass


async def test_an_error_of_the_frames_comes_after_the_responses(serve_frames):
    def frames():
        yield from FRAMES[:3]
        raise OSError("the disk is gone")

    images = []
    async with JpegStream(port=serve_frames(echo)) as stream:
        with pytest.raises(OSError, match="the disk is gone"):
            async for image in stream.map(frames()):
                images.append(image)
        assert images == FRAMES[:3]
        assert [image async for image in stream.map([])] == []


def test_in_flight_is_checked():
    with pytest.raises(ValueError, match="in_flight"):
        JpegStream(in_flight=0)
