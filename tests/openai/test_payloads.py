"""Which of a model's inputs gets what."""

import json

import pytest
from mlserver import MLModel, ModelSettings
from mlserver.types import MetadataTensor

from mlserver_streaming.errors import MLServerError
from mlserver_streaming.openai.ask import Ask
from mlserver_streaming.openai.payloads import Tensors, audio_payload, text_payloads

MESSAGES = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "last"},
]
CHAT = Ask("m", MESSAGES, [], {"max_tokens": 3})
PROMPTS = Ask("m", None, ["a", "b"], {})


def tensors(*inputs, outputs=("text:BYTES",), **named):
    def declared(names):
        split = [name.partition(":") for name in names]
        return [
            MetadataTensor(name=name, datatype=kind or "BYTES", shape=[1])
            for name, _, kind in split
        ]

    extra = {"openai": named} if named else {}
    settings = ModelSettings(
        name="m",
        implementation=MLModel,
        inputs=declared(inputs),
        outputs=declared(outputs),
        parameters={"extra": extra},
    )
    return Tensors.of(MLModel(settings))


def sent(payloads):
    return [(p.inputs[0].name, p.inputs[0].data.root[0]) for p in payloads]


def test_a_language_model_gets_the_whole_conversation():
    (payload,) = text_payloads(CHAT, tensors("messages", "prompt", "text_input"))
    assert payload.inputs[0].name == "messages"
    assert json.loads(payload.inputs[0].data.root[0]) == MESSAGES
    assert payload.parameters.model_extra == {"max_tokens": 3}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (tensors("prompt"), "prompt"),
        (tensors("anything", "size:INT32"), "anything"),
        (tensors("context", "text_input"), "text_input"),
        (tensors(), "text_input"),
        (tensors("a", "b", input="b"), "b"),
    ],
    ids=["prompt", "the only one", "text_input", "none declared", "named"],
)
def test_any_other_gets_what_the_user_said_last(model, name):
    assert sent(text_payloads(CHAT, model)) == [(name, "last")]


def test_prompts_are_a_request_each():
    asked = text_payloads(PROMPTS, tensors("messages", "prompt", "text_input"))
    assert sent(asked) == [("prompt", "a"), ("prompt", "b")]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (tensors("a", "b"), "'a', 'b'"),
        (tensors("image:FP32"), "none of its inputs is BYTES"),
        (tensors("audio"), "transcription"),
        (tensors("prompt", outputs=["boxes:FP32"]), "no text"),
    ],
)
def test_a_model_that_cannot_says_why(model, said):
    with pytest.raises(MLServerError, match=said):
        text_payloads(CHAT, model)


@pytest.mark.parametrize("field", ["n", "response_format"])
def test_what_a_text_model_would_not_notice_is_refused(field):
    ask = Ask("m", MESSAGES, [], {}, language_only=[field])
    with pytest.raises(MLServerError, match=f"'{field}'"):
        text_payloads(ask, tensors("prompt"))
    assert text_payloads(ask, tensors("messages"))


def test_a_recording_goes_to_the_input_for_it():
    for model, name in ((tensors("audio"), "audio"), (tensors("sound", input="sound"), "sound")):
        payload = audio_payload(b"RIFF", model, {"partial": False}, ["text", "words"])
        assert sent([payload]) == [(name, b"RIFF")]
        assert [output.name for output in payload.outputs] == ["text", "words"]
    for model in (tensors("prompt"), tensors("messages", "prompt", input="prompt")):
        with pytest.raises(MLServerError, match="hears nothing"):
            audio_payload(b"RIFF", model, {}, [])
