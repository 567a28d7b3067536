"""Messages put together without pydantic's ways are like those that it makes."""

import pickle
import uuid

from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    Parameters,
    RequestInput,
    RequestOutput,
)

from mlserver_streaming.models import messages


def test_a_call_s_headers_take_the_place_of_what_a_caller_wrote() -> None:
    for given in (None, Parameters(headers={"a": "mine"}, other=1), Parameters(content_type="str")):
        extra = dict(given.model_extra or {}) if given else {}
        request = InferenceRequest(id="1", inputs=[], parameters=given)
        messages.put_headers(request, {"b": "2"})
        assert request.parameters is not None
        assert request.parameters.headers == {"b": "2"}
        assert request.parameters.model_extra == extra
        again = InferenceRequest.model_validate_json(request.model_dump_json(exclude_unset=True))
        assert again == request


def test_an_id() -> None:
    for message in (
        InferenceRequest(inputs=[]),
        InferenceResponse(model_name="m", outputs=[]),
        messages.request(None, [], None),
        messages.response("m", None, None, []),
    ):
        messages.set_id(message, "7")
        assert message.id == "7"
        assert message.model_dump(exclude_unset=True)["id"] == "7"


def test_a_request_is_like_one_that_pydantic_makes() -> None:
    made = messages.request("1", [messages.request_input("a", "INT32", [2], [1, 2], None)], None)
    theirs = InferenceRequest(
        id="1", inputs=[RequestInput(name="a", datatype="INT32", shape=[2], data=[1, 2])]
    )
    assert made == theirs
    assert made.model_dump(exclude_none=True) == theirs.model_dump(exclude_none=True)
    made.outputs = [RequestOutput(name="o")]
    assert messages.request("2", [], None).model_dump(exclude_unset=True).get("outputs") is None


def test_a_response_of_one_text_is_like_any_other() -> None:
    for parameters in (None, Parameters(prompt_index=1)):
        made = messages.text_response("m", None, "7", "y", "a", parameters)
        output = messages.output("y", "BYTES", [1], ["a"], "str")
        usual = messages.response("m", None, "7", [output], parameters)
        assert made == usual
        assert made.model_dump(exclude_unset=True) == usual.model_dump(exclude_unset=True)
        copy = made.model_copy(deep=True)
        copy.outputs[0].shape.append(1)
        copy.outputs[0].data.root.append("b")
        assert messages.text_response("m", None, "7", "y", "a", parameters) == made == usual
        again = InferenceResponse.model_validate_json(made.model_dump_json(exclude_unset=True))
        assert again.model_dump() == made.model_dump()
        assert pickle.loads(pickle.dumps(made)) == made


def test_new_ids_are_random_uuids() -> None:
    made = {messages.new_id() for _ in range(1000)}
    assert len(made) == 1000
    for each in made:
        found = uuid.UUID(each)
        assert (str(found), found.version, found.variant) == (each, 4, uuid.RFC_4122)
