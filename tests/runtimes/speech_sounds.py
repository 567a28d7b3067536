"""A tiny CTC model in ONNX whose right answers are known: it spells tones.

A tone of 500 Hz is "a", one of 1500 Hz "b", one of 3500 Hz a space; silence is the blank.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.types import InferenceRequest, MetadataTensor, Parameters, RequestInput, RequestOutput
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mlserver_streaming.audio.features import LogMel
from tests.audio.sounds import RATE, pcm, silence, tone

HERTZ = {"a": 500.0, "b": 1500.0, " ": 3500.0}
FEATURES = {"mels": 64, "normalise": "none"}
BAND_ENERGY = -2.0  # log energy of a band above which there is a tone in it


def spell(text: str, seconds: float = 0.2, gap: float = 0.1) -> NDArray[np.float32]:
    """The sound of a text."""
    parts = [part for each in text for part in (tone(seconds, HERTZ[each]), silence(gap))]
    return np.concatenate([silence(0.4), *parts, silence(0.2)])


def write_model(folder: Path, *, lengths: bool = False) -> Path:
    """model.onnx and labels.txt; with a second input for the lengths where wanted."""
    bands = [
        int(np.argmax(LogMel(**FEATURES)(tone(0.2, hz)).mean(axis=1))) for hz in HERTZ.values()
    ]
    weights = np.zeros((4, 64, 1), np.float32)
    weights[np.arange(3), bands] = 5
    bias = np.array([0, 0, 0, 5 * BAND_ENERGY], np.float32)
    nodes = [
        helper.make_node("Conv", ["audio_signal", "weights", "bias"], ["scores"]),
        helper.make_node("Transpose", ["scores"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("LogSoftmax", ["turned"], ["logprobs"], axis=2),
    ]
    inputs = [helper.make_tensor_value_info("audio_signal", TensorProto.FLOAT, ["B", 64, "T"])]
    outputs = [helper.make_tensor_value_info("logprobs", TensorProto.FLOAT, ["B", "T", 4])]
    if lengths:
        inputs.append(helper.make_tensor_value_info("length", TensorProto.INT64, ["B"]))
        outputs.append(helper.make_tensor_value_info("length_out", TensorProto.INT64, ["B"]))
        nodes.append(helper.make_node("Identity", ["length"], ["length_out"]))
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "tones", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "labels.txt").write_text("a\nb\n \n")
    return folder / "model.onnx"


def settings(uri: Path | None = None, **extra: Any) -> ModelSettings:
    """Settings of a speech model, for the tones' engine where `uri` is given."""
    if uri is not None:
        extra.setdefault("ctc", {"features": FEATURES})
    return ModelSettings(
        name="speech-model",
        implementation="runtimes.speech.SpeechModel",
        inputs=[MetadataTensor(name="audio", datatype="BYTES", shape=[-1])],
        outputs=[
            MetadataTensor(name="transcript", datatype="BYTES", shape=[-1]),
            MetadataTensor(name="words", datatype="BYTES", shape=[-1]),
        ],
        parameters=ModelParameters(uri=str(uri) if uri else None, extra=extra),
    )


def request(
    data: Any, *, id: str = "r", outputs: list[str] | None = None, **parameters: Any
) -> InferenceRequest:
    """A request with files (a list of bytes) or samples (an array)."""
    if isinstance(data, np.ndarray):
        datatype = "INT16" if data.dtype == np.int16 else "FP32"
        shape = list(data.shape)
    else:
        datatype, shape = "BYTES", [len(data)]
    tensor = RequestInput.model_construct(name="audio", datatype=datatype, shape=shape, data=data)
    return InferenceRequest(
        id=id,
        parameters=Parameters(**parameters) if parameters else None,
        inputs=[tensor],
        outputs=[RequestOutput(name=name) for name in outputs] if outputs else None,
    )


def chunks(sound: NDArray[np.float32], seconds: float = 0.1) -> list[NDArray[np.int16]]:
    size = round(seconds * RATE)
    whole = pcm(sound)
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def texts(response: Any, name: str = "transcript") -> list[str]:
    (output,) = [output for output in response.outputs if output.name == name]
    return list(output.data.root)


def words(response: Any) -> list[list[dict[str, Any]]]:
    return [json.loads(text) for text in texts(response, "words")]


def said(response: Any) -> dict[str, Any]:
    """A response's parameters."""
    return dict((response.parameters.model_extra or {}) if response.parameters else {})
