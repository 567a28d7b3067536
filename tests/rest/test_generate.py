import orjson
import pytest
from mlserver.types import (
    InferenceResponse,
    MetadataTensor,
    Parameters,
    ResponseOutput,
    TensorData,
)

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.rest.generate import FlatAnswers, is_flat, unflatten
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.json_requests import decode_request
from mlserver_streaming.tensors.steps import finish

PROMPT = [MetadataTensor(name="prompt", datatype="BYTES", shape=[1])]
SEVERAL = [
    MetadataTensor(name="question", datatype="BYTES", shape=[1]),
    MetadataTensor(name="text_input", datatype="BYTES", shape=[1, 1]),
    MetadataTensor(name="top", datatype="INT32", shape=[-1]),
]


def request(parsed, declared=PROMPT):
    return finish(decode_request(unflatten(parsed, declared), LimitSettings()))


def answer(parsed, outputs, declared=PROMPT, **fields):
    response = InferenceResponse.model_construct(
        model_name="m",
        outputs=[
            ResponseOutput.model_construct(
                name=name,
                shape=[len(data)],
                datatype=datatype,
                parameters=None,
                data=TensorData.model_construct(root=data),
            )
            for name, datatype, data in outputs
        ],
        **fields,
    )
    return orjson.loads(FlatAnswers.to(unflatten(parsed, declared)).encode(response))


def test_which_body_is_flat():
    assert is_flat({"text_input": "a"})
    assert is_flat({})
    assert not is_flat({"inputs": [], "text_input": "a"})


def test_text_goes_to_the_only_input_of_text():
    found = request({"text_input": "hi there", "id": "7", "parameters": {"delay": 0}})
    (tensor,) = found.inputs
    assert (tensor.name, tensor.shape, tensor.data.root) == ("prompt", [1], "hi there")
    assert tensor.parameters.content_type == "str"
    assert found.id == "7"
    assert found.parameters.model_extra == {"delay": 0}


def test_text_goes_to_the_input_of_that_name():
    found = request({"text_input": "t", "question": ["a", "b"], "top": 3, "seed": 1}, SEVERAL)
    tensors = {tensor.name: (tensor.shape, tensor.data.root) for tensor in found.inputs}
    assert tensors == {"text_input": ([1, 1], "t"), "question": ([2], ["a", "b"]), "top": ([1], 3)}
    assert found.parameters.model_extra == {"seed": 1}


def test_tensors_may_stand_among_the_parameters():
    found = request({"text_input": "t", "parameters": {"top": [1, 2], "seed": 1}}, SEVERAL)
    assert [tensor.name for tensor in found.inputs] == ["text_input", "top"]
    assert found.parameters.model_extra == {"seed": 1}


def test_a_model_that_declares_nothing_gets_the_text():
    (tensor,) = request({"text_input": "hi"}, []).inputs
    assert (tensor.name, tensor.datatype) == ("text_input", "BYTES")


@pytest.mark.parametrize(
    ("parsed", "declared", "said"),
    [
        ({}, PROMPT, "neither 'text_input' nor a list of 'inputs'; .* 'prompt'"),
        ({"delay": 0}, PROMPT, "neither"),
        ({"text_input": "a"}, SEVERAL[2:], "no input that 'text_input' could stand for"),
        ({"text_input": "a"}, PROMPT + SEVERAL[:1], "no input that 'text_input' could stand for"),
        ({"text_input": "a", "prompt": "b"}, PROMPT, "twice"),
        ({"text_input": "a", "parameters": []}, PROMPT, "'parameters' must be an object"),
        ({"text_input": "a", "parameters": {"content_type": 5}}, PROMPT, "content_type"),
        ({"text_input": 5}, PROMPT, "must be strings"),
        ({"text_input": None}, PROMPT, "must be strings"),
        ({"text_input": "a", "top": "high"}, SEVERAL, "must be numbers"),
        ({"text_input": [["a"], []]}, PROMPT, "not all of one length"),
        ({"text_input": "a", "id": 5}, PROMPT, "Field 'id'"),
    ],
)
def test_a_flat_body_that_is_wrong(parsed, declared, said):
    with pytest.raises(BadRequestError, match=said) as caught:
        request(parsed, declared)
    assert caught.value.status_code == 400


def test_one_text_is_answered_with_one_text():
    found = answer({"text_input": "q"}, [("output", "BYTES", ["a", b" b"])], id="made up")
    assert found == {"model_name": "m", "model_version": "", "text_output": "a b"}


def test_a_list_of_texts_is_answered_with_a_list():
    found = answer({"text_input": ["q"], "id": "1"}, [("output", "BYTES", ["a"])], id="1")
    assert found["text_output"] == ["a"]
    assert found["id"] == "1"


def test_a_character_cut_in_two_is_whole_again():
    assert answer({"text_input": "q"}, [("o", "BYTES", [b"\xc3", b"\xa9"])])["text_output"] == "é"


def test_bytes_that_are_no_text_are_base64():
    assert answer({"text_input": "q"}, [("o", "BYTES", [b"\xff"])])["text_output"] == "/w=="


def test_other_outputs_and_parameters_stand_beside_the_text():
    found = answer(
        {"text_input": "q"},
        [("first", "BYTES", ["f"]), ("text_output", "BYTES", ["t"]), ("p", "FP32", [0.5, 1])],
        parameters=Parameters(headers={"Ce-Id": "1"}, step=3, p="hidden", model_name="hidden"),
        model_version="v1",
    )
    assert found == {
        "model_name": "m",
        "model_version": "v1",
        "first": "f",
        "text_output": "t",
        "p": [0.5, 1],
        "step": 3,
    }


def test_a_failed_request_says_so_at_the_top():
    found = answer({"text_input": "q"}, [], parameters=Parameters(error="no", error_code=422))
    assert found == {"model_name": "m", "model_version": "", "error": "no", "error_code": 422}
