"""JpegModel, as a client of a stream sees it."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.vision.jpeg import decode, read_header
from runtimes.jpeg import JpegModel
from tests.runtimes.asking import answers, ask, element, error_of, settings_of, stream_of
from tests.vision.jpegs import claiming, cmyk, jpeg, picture, with_exif

SMALL = jpeg(picture(32, 24))


@pytest.fixture
async def model() -> AsyncIterator[JpegModel]:
    loaded = JpegModel(settings_of("jpeg-model"))
    await loaded.load()
    yield loaded
    await loaded.unload()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def index_of(response: InferenceResponse) -> int:
    return response.parameters.model_extra["frame_index"]


async def test_a_frame_comes_back_as_a_jpeg_of_the_same_size(model: JpegModel) -> None:
    (response,) = await answers(model, ask("image", [SMALL], id="seven"))
    assert (response.model_name, response.id, response.parameters) == ("jpeg-model", "seven", None)
    (output,) = response.outputs
    assert (output.name, output.datatype, output.shape) == ("output_image", "BYTES", [1])
    assert read_header(element(response)) == read_header(SMALL)


@pytest.mark.parametrize(
    ("sent", "content_type"),
    [
        (text(SMALL), "base64"),
        (text(SMALL), None),
        (text(SMALL), "str"),
        (text(SMALL).encode(), "base64"),
        (text(SMALL).encode(), None),  # Triton's sample client
        (base64.encodebytes(SMALL).decode(), "base64"),
    ],
    ids=["announced", "text", "text called str", "bytes announced", "bytes", "with line breaks"],
)
async def test_base64_in_is_base64_out(
    model: JpegModel, sent: str | bytes, content_type: str | None
) -> None:
    (response,) = await answers(model, ask("image", [sent], content_type=content_type))
    answer = element(response)
    assert isinstance(answer, str)
    assert response.outputs[0].parameters.content_type == "base64"
    assert read_header(base64.b64decode(answer, validate=True)) == read_header(SMALL)


@pytest.mark.parametrize("content_type", [None, "base64"])
async def test_raw_in_is_raw_out(model: JpegModel, content_type: str | None) -> None:
    (response,) = await answers(model, ask("image", [SMALL], content_type=content_type))
    assert isinstance(element(response), bytes)
    assert response.outputs[0].parameters is None


async def test_each_frame_is_answered_in_its_own_form(model: JpegModel) -> None:
    raw, coded = await answers(model, ask("image", [SMALL, text(SMALL)]))
    assert isinstance(element(raw), bytes)
    assert isinstance(element(coded), str)
    assert base64.b64decode(element(coded)) == element(raw)


async def test_size_and_greyness_stay(model: JpegModel) -> None:
    frames = [
        jpeg(picture(37, 23)),
        jpeg(picture(50, 20, grey=True)),
        jpeg(progressive=True),
        cmyk(),
    ]
    got = [read_header(element(r)) for r in await answers(model, ask("image", frames))]
    assert [(header.width, header.height, header.components) for header in got] == [
        (37, 23, 3),
        (50, 20, 1),
        (64, 48, 3),
        (8, 8, 3),
    ]


async def test_a_frame_of_a_turned_phone_comes_back_upright(model: JpegModel) -> None:
    turned = with_exif(jpeg(picture(40, 20)), orientation=6)
    (response,) = await answers(model, ask("image", [turned]))
    again = decode(element(response))
    assert again.shape == (40, 20, 3)
    # The stored right edge, bright in blue, is the bottom edge upright.
    assert again[-1, :, 0].mean() > 150 > 50 > again[0, :, 0].mean()


async def test_quality_is_95_unless_the_request_says_otherwise(model: JpegModel) -> None:
    frame = jpeg(picture(160, 120))

    async def size(**parameters: Any) -> int:
        (response,) = await answers(model, ask("image", [frame], **parameters))
        return len(element(response))

    assert await size() == await size(quality=95) == await size(quality="95")
    assert await size(quality=1) < await size(quality=50.0) < await size(quality="100")


async def test_the_model_s_settings_set_the_quality() -> None:
    sizes = []
    for quality in (10, 90):
        model = JpegModel(settings_of("jpeg-model", quality=quality))
        await model.load()
        (response,) = await answers(model, ask("image", [SMALL]))
        sizes.append(len(element(response)))
        await model.unload()
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("quality", [0, 101, -1, 95.5, "high", "", True, float("nan"), [95]])
async def test_an_impossible_quality_fails_its_request_alone(
    model: JpegModel, quality: Any
) -> None:
    refused, good = await answers(
        model, ask("image", [SMALL], id="bad", quality=quality), ask("image", [SMALL], id="good")
    )
    status, sentence = error_of(refused)
    assert (refused.id, status) == ("bad", 400)
    assert sentence.startswith("Parameter 'quality' must be a whole number from 1 to 100, not ")
    assert read_header(element(good)).width == 32


async def test_many_frames_keep_their_order(model: JpegModel) -> None:
    # Large ones first: they take longest, and would come last if order were left to chance.
    widths = [640, *range(8, 40), 320, *range(40, 60)]
    frames = [jpeg(picture(width, width)) for width in widths]
    got = await answers(model, ask("image", frames[:20], id="a"), ask("image", frames[20:], id="b"))
    assert [read_header(element(response)).width for response in got] == widths
    assert [(response.id, index_of(response)) for response in got] == [
        *(("a", index) for index in range(20)),
        *(("b", index) for index in range(len(widths) - 20)),
    ]


async def test_a_client_that_waits_for_each_frame_is_served(model: JpegModel) -> None:
    asked: asyncio.Queue[InferenceRequest] = asyncio.Queue()

    async def requests() -> AsyncIterator[InferenceRequest]:
        while True:
            yield await asked.get()

    responses = model.predict_stream(requests())
    async with asyncio.timeout(20):
        for number in range(10):
            asked.put_nowait(ask("image", [SMALL], id=str(number)))
            assert (await anext(responses)).id == str(number)
        await responses.aclose()


BAD = {
    "not a jpeg": (b"\x89PNG\r\n\x1a\n", "it is not a JPEG"),
    "nothing": (b"", "it is not a JPEG"),
    "words": ("what is this?", "neither a JPEG nor base64 text"),
    "base64 of something else": (text(b"hello"), "it is not a JPEG"),
    "truncated": (SMALL[:-40], "truncated"),
    "truncated header": (SMALL[:30], "truncated"),
    "truncated in base64": (text(SMALL[:-40]), "truncated"),
    "garbage in base64": (text(SMALL)[:40] + "*" + text(SMALL)[41:], "neither a JPEG nor base64"),
    "unpadded base64": (
        text(SMALL + b"\0" * (-len(SMALL) % 3 + 1))[:-2],
        "neither a JPEG nor base64",
    ),
    "enormous": (claiming(SMALL, 60_000, 60_000), "60000x60000 pixels; at most 50 megapixels"),
    "lone surrogate": ("\ud800", "neither a JPEG nor base64 text"),
}


@pytest.mark.parametrize(("bad", "why"), BAD.values(), ids=BAD)
async def test_a_bad_frame_among_good_ones_fails_alone(
    model: JpegModel, bad: bytes | str, why: str
) -> None:
    first, refused, last = await answers(model, ask("image", [SMALL, bad, SMALL], id="three"))
    status, sentence = error_of(refused)
    assert status == 422
    assert sentence.startswith("Element 1 of input 'image'")
    assert why in sentence
    assert [index_of(response) for response in (first, refused, last)] == [0, 1, 2]
    assert {response.id for response in (first, refused, last)} == {"three"}
    assert element(first) == element(last)


async def test_a_larger_limit_can_be_set() -> None:
    model = JpegModel(settings_of("jpeg-model", max_megapixels=0.0005))
    await model.load()
    refused, good = await answers(model, ask("image", [SMALL, jpeg(picture(20, 25))]))
    assert "at most 0.0005 megapixels" in error_of(refused)[1]
    assert read_header(element(good)).width == 20
    await model.unload()


@pytest.mark.parametrize("data", [[1], [None], [True], [{"a": 1}]])
async def test_a_frame_that_is_no_bytes_is_400(model: JpegModel, data: list[Any]) -> None:
    (refused,) = await answers(model, ask("image", data))
    assert error_of(refused)[0] == 400


async def test_no_frames_are_answered_with_nothing(model: JpegModel) -> None:
    assert await answers(model, ask("image", [])) == []


def step(data: Any, *, start: bool = False, end: bool = False) -> InferenceRequest:
    return ask(
        "image",
        data,
        sequence_id=2**63 + 5,
        sequence_start=start,
        sequence_end=end,
    )


async def test_the_triton_sample_s_sequence(
    model: JpegModel, caplog: pytest.LogCaptureFixture
) -> None:
    """It sends the integer 1, which arrives as its digits, to start and to stop."""
    logger = logging.getLogger("mlserver")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, "mlserver"):
            start, *frames, end = await answers(
                model,
                step([b"1"], start=True),
                step([text(SMALL).encode()]),
                step([text(SMALL).encode()]),
                step([b"1"], end=True),
            )
    finally:
        logger.removeHandler(caplog.handler)
    assert start.outputs == end.outputs == []
    assert start.parameters is None and end.parameters is None
    assert all(isinstance(element(frame), str) for frame in frames)
    assert caplog.messages[0] == f"Stream {2**63 + 5} started"
    assert caplog.messages[-1].startswith(f"Stream {2**63 + 5} stopped")
    assert "2 frames" in caplog.messages[-1]


async def test_start_and_end_may_carry_frames(model: JpegModel) -> None:
    got = await answers(model, step([SMALL], start=True), step([SMALL, SMALL], end=True))
    assert [read_header(element(response)).width for response in got] == [32, 32, 32]
    assert len(model.sequences) == 0


async def test_illegal_steps_are_refused_in_their_place(model: JpegModel) -> None:
    got = await answers(
        model,
        step([SMALL]),
        step([SMALL], start=True),
        step([SMALL], start=True),
        step([SMALL], end=True),
        step([b"1"], end=True),
    )
    assert [bool(response.outputs) for response in got] == [False, True, False, True, False]
    assert [error_of(got[index])[0] for index in (0, 2, 4)] == [400, 400, 400]


async def test_an_idle_sequence_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    told = asyncio.Event()

    class Told(JpegModel):
        def sequence_expired(self, sequence: Any) -> None:
            super().sequence_expired(sequence)
            told.set()

    model = Told(settings_of("jpeg-model", sequence_idle_seconds=0.01))
    await model.load()
    await answers(model, step([SMALL], start=True))
    async with asyncio.timeout(10):
        await told.wait()
    (refused,) = await answers(model, step([SMALL]))
    assert "START" in error_of(refused)[1]
    await model.unload()


async def test_a_client_that_leaves_ends_the_work(model: JpegModel) -> None:
    read = 0

    async def endless() -> AsyncIterator[InferenceRequest]:
        nonlocal read
        while True:
            read += 1
            yield ask("image", [SMALL])
            await asyncio.sleep(0)

    responses = model.predict_stream(endless())
    await anext(responses)
    await responses.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    after = read
    await asyncio.sleep(0)
    assert read == after
    # The next client is served.
    assert len(await answers(model, ask("image", [SMALL]))) == 1


async def test_a_slow_reader_stops_the_reading_of_its_own_stream(model: JpegModel) -> None:
    read = 0

    async def endless() -> AsyncIterator[InferenceRequest]:
        nonlocal read
        while True:
            read += 1
            yield ask("image", [SMALL])

    responses = model.predict_stream(endless())
    await anext(responses)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert read <= model._in_work + 1
    await responses.aclose()
    assert len(await answers(model, ask("image", [SMALL]))) == 1


async def test_streams_beside_one_another_do_not_mix(model: JpegModel) -> None:
    async def one(width: int) -> list[int]:
        frames = stream_of(*(ask("image", [jpeg(picture(width, 16))]) for _ in range(8)))
        return [
            read_header(element(response)).width async for response in model.predict_stream(frames)
        ]

    got = await asyncio.gather(*(one(width) for width in (16, 24, 32)))
    assert got == [[16] * 8, [24] * 8, [32] * 8]
