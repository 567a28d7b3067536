"""StreamingModel: what a runtime gets for writing one method."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse, RequestOutput

from mlserver_streaming.errors import failure_of
from mlserver_streaming.models.errors import ContentError, RequestError
from mlserver_streaming.models.sequences import Sequence
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import bytes_output, is_placeholder, text_elements
from tests.runtimes.asking import answers, ask, element, error_of, stream_of


class Counter(StreamingModel):
    """Counts the requests of each sequence; "refuse" and "break" are what they say."""

    def __init__(self, settings: ModelSettings):
        super().__init__(settings)
        self.log: list[tuple[str, Any]] = []
        self.expired = asyncio.Event()

    def is_placeholder(self, request: InferenceRequest) -> bool:
        return all(map(is_placeholder, request.inputs))

    def sequence_started(self, sequence: Sequence) -> None:
        sequence.state = 0
        self.log.append(("started", sequence.id))

    def sequence_ended(self, sequence: Sequence) -> None:
        self.log.append(("ended", sequence.id))

    def sequence_expired(self, sequence: Sequence) -> None:
        self.log.append(("expired", sequence.id))
        self.expired.set()

    async def respond(
        self, request: InferenceRequest, sequence: Sequence | None
    ) -> AsyncIterator[InferenceResponse]:
        try:
            for text in text_elements(self.input(request, "x")):
                if text == "refuse":
                    raise ContentError("refused.")
                if text == "break":
                    raise ValueError("broken")
                if sequence is not None:
                    sequence.state += 1
                    text = f"{text} {sequence.state}"
                yield self.response(request, [bytes_output("y", [text])])
        finally:
            self.log.append(("closed", request.id))


def counter(**extra: Any) -> Counter:
    return Counter(
        ModelSettings(
            name="counter",
            implementation=Counter,
            inputs=[{"name": "x", "datatype": "BYTES", "shape": [-1]}],
            outputs=[{"name": "y", "datatype": "BYTES", "shape": [-1]}],
            parameters=ModelParameters(extra=extra),
        )
    )


def x(text: str = "a", **arguments: Any) -> InferenceRequest:
    return ask("x", [text], **arguments)


def step(text: str = "a", *, start: bool = False, end: bool = False, of: Any = 7) -> Any:
    return x(text, sequence_id=of, sequence_start=start, sequence_end=end)


async def test_a_failed_request_fails_alone_and_the_stream_goes_on() -> None:
    first, refused, last = await answers(counter(), x(id="1"), x("refuse", id="2"), x("b", id="3"))
    assert (first.id, element(first)) == ("1", "a")
    assert (refused.id, error_of(refused)) == ("2", (422, "refused."))
    assert (last.id, element(last)) == ("3", "b")


async def test_a_failure_after_responses_comes_after_them() -> None:
    request = ask("x", ["a", "refuse", "never"])
    first, refused = await answers(counter(), request)
    assert element(first) == "a"
    assert error_of(refused) == (422, "refused.")


async def test_an_error_that_is_no_answer_ends_the_stream() -> None:
    with pytest.raises(ValueError, match="broken"):
        await answers(counter(), x("break"))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (InferenceRequest(inputs=[]), "The request has no inputs; model 'counter' takes 'x'"),
        (ask("z", ["a"]), "Model 'counter' has no input 'z'; it takes 'x' (BYTES)."),
        (ask("x", [1], datatype="INT32"), "Input 'x' must be BYTES, not 'INT32'."),
        (ask("x", ["a"], shape=[2]), "Input 'x' has shape [2], but its data holds 1 element(s)"),
        (
            InferenceRequest(inputs=x().inputs * 2),
            "Input 'x' is there twice; send it once.",
        ),
        (
            InferenceRequest(inputs=x().inputs, outputs=[RequestOutput(name="q")]),
            "Model 'counter' has no output 'q'; it gives 'y'.",
        ),
    ],
    ids=["no inputs", "wrong name", "wrong datatype", "wrong shape", "twice", "wrong output"],
)
async def test_a_request_that_the_metadata_does_not_allow_is_400(
    request_: InferenceRequest, said: str
) -> None:
    refused, good = await answers(counter(), request_, x())
    status, sentence = error_of(refused)
    assert status == 400
    assert sentence.startswith(said)
    assert element(good) == "a"


async def test_a_sequence_from_start_to_end() -> None:
    model = counter()
    got = await answers(model, step(start=True), step("b"), step("c", end=True))
    assert [element(response) for response in got] == ["a 1", "b 2", "c 3"]
    assert [entry for entry in model.log if entry[0] != "closed"] == [("started", 7), ("ended", 7)]
    assert len(model.sequences) == 0


async def test_sequences_go_on_from_one_stream_to_the_next() -> None:
    """A unary client sends every request as a call of its own."""
    model = counter()
    for request, expected in [
        (step(start=True), "a 1"),
        (step("b", of="other", start=True), "b 1"),
        (step("c"), "c 2"),
        (step("d", of="other", end=True), "d 2"),
    ]:
        (response,) = await answers(model, request)
        assert element(response) == expected
    await model.unload()


async def test_start_and_end_without_data_are_answered_without_outputs() -> None:
    model = counter()
    start, frame, end = await answers(model, step("1", start=True), step(), step("1", end=True))
    assert start.outputs == end.outputs == []
    assert start.parameters is None and end.parameters is None  # no error
    assert element(frame) == "a 1"
    assert len(model.sequences) == 0


async def test_one_in_the_middle_of_a_sequence_is_data() -> None:
    model = counter()
    _, frame = await answers(model, step(start=True), step("1"))
    assert element(frame) == "1 2"
    await model.unload()


async def test_a_whole_sequence_in_one_request() -> None:
    model = counter()
    (response,) = await answers(model, step(start=True, end=True))
    assert element(response) == "a 1"
    assert model.log[0] == ("started", 7)
    assert model.log[-1] == ("ended", 7)
    assert len(model.sequences) == 0


async def test_illegal_steps_are_refused_and_the_sequence_lives_on() -> None:
    model = counter()
    got = await answers(
        model, step(), step(start=True), step(start=True), step("b", end=True), step(end=True)
    )
    assert [error_of(got[index])[0] for index in (0, 2, 4)] == [400, 400, 400]
    assert [element(got[index]) for index in (1, 3)] == ["a 1", "b 2"]


async def test_a_request_that_is_refused_for_its_tensors_starts_nothing() -> None:
    model = counter()
    parameters = {"sequence_id": 7, "sequence_start": True}
    for broken in (
        ask("x", ["a"], shape=[2], **parameters),
        ask("z", ["a"], **parameters),
        ask("x", [1], datatype="INT32", **parameters),
    ):
        (refused,) = await answers(model, broken)
        assert error_of(refused)[0] == 400
        assert len(model.sequences) == 0
    (good,) = await answers(model, step(start=True))
    assert element(good) == "a 1"
    await model.unload()


async def test_a_sequence_ends_even_where_its_last_request_fails() -> None:
    model = counter()
    await answers(model, step(start=True), step("refuse", end=True))
    assert model.log[-1] == ("ended", 7)
    assert len(model.sequences) == 0


async def test_one_sequence_more_than_max_sequences_is_429() -> None:
    model = counter(max_sequences=2)
    *_, refused = await answers(model, *(step(of=id, start=True) for id in (1, 2, 3)))
    assert error_of(refused)[0] == 429
    await model.unload()


async def test_an_idle_sequence_is_given_up_and_the_model_is_told() -> None:
    model = counter(sequence_idle_seconds=0.01)
    await answers(model, step(start=True))
    async with asyncio.timeout(10):
        await model.expired.wait()
    assert ("expired", 7) in model.log
    assert len(model.sequences) == 0
    (refused,) = await answers(model, step())
    status, sentence = error_of(refused)
    assert status == 400
    assert "START" in sentence


async def test_each_idle_sequence_is_given_up_in_its_time() -> None:
    model = counter(sequence_idle_seconds=0.01)
    async with asyncio.timeout(10):
        for id in (1, 2):
            model.expired.clear()
            await answers(model, step(of=id, start=True))
            await model.expired.wait()
    assert [entry for entry in model.log if entry[0] == "expired"] == [
        ("expired", 1),
        ("expired", 2),
    ]


async def test_an_unloaded_model_leaves_no_timer() -> None:
    model = counter(sequence_idle_seconds=1000)
    await answers(model, step(start=True))
    timer = model._expiry
    assert timer is not None and not timer.cancelled()
    await model.unload()
    assert timer.cancelled()


async def test_a_stream_that_is_closed_closes_the_response_under_way_and_its_sequence() -> None:
    model = counter()
    request = ask("x", ["a", "b"], sequence_id=7, sequence_start=True, sequence_end=True)
    responses = model.predict_stream(stream_of(request))
    await anext(responses)
    await responses.aclose()
    assert model.log[-2:] == [("closed", "r"), ("ended", 7)]


async def test_a_runtime_without_respond_says_what_is_missing() -> None:
    model = StreamingModel(counter().settings)
    with pytest.raises(NotImplementedError, match="StreamingModel does not define respond"):
        await answers(model, x())


async def test_a_model_without_metadata_takes_inputs_of_any_name() -> None:
    model = Counter(ModelSettings(name="bare", implementation=Counter))
    [answered] = await answers(model, ask("x", ["hello"]))
    assert answered.outputs
    [refused] = await answers(model, InferenceRequest(id="r", inputs=[]))
    assert error_of(refused) == (
        400,
        "The request has no inputs; model 'bare' takes inputs of any name.",
    )


def test_a_failure_says_which_parameter_where_the_error_knows_it() -> None:
    model = Counter(ModelSettings(name="counter", implementation=Counter))
    error = RequestError("Too long.", param="prompt", reason="context_length_exceeded")
    response = model.failure(ask("prompt", ["x"]), error)
    failed = failure_of(response)
    assert failed is not None
    assert (str(failed), failed.status_code) == ("Too long.", 400)
    assert (failed.param, failed.code) == ("prompt", "context_length_exceeded")
    plain = failure_of(model.failure(ask("prompt", ["x"]), ContentError("No.")))
    assert plain is not None
    assert (plain.param, plain.code) == (None, None)
