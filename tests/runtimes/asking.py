"""Ask a runtime as a service would, without one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse

ROOT = Path(__file__).resolve().parents[2]


def settings_of(name: str, **extra: Any) -> ModelSettings:
    """The settings that the project ships for a model, with other `parameters.extra`."""
    path = ROOT / "model-settings" / name / "model-settings.json"
    shipped = json.loads(path.read_text())
    extra = {**shipped["parameters"]["extra"], **extra}
    return ModelSettings(**{**shipped, "parameters": ModelParameters(extra=extra)})


def ask(
    name: str,
    data: Any,
    *,
    id: str | None = "r",
    shape: list[int] | None = None,
    datatype: str = "BYTES",
    content_type: str | None = None,
    parameters: dict[str, Any] | None = None,
    **more: Any,
) -> InferenceRequest:
    """A request with one input tensor; what else is named is a request parameter."""
    tensor = {
        "name": name,
        "datatype": datatype,
        "shape": [len(data)] if shape is None else shape,
        "data": data,
    }
    if content_type:
        tensor["parameters"] = {"content_type": content_type}
    return InferenceRequest(
        id=id, inputs=[tensor], parameters={**(parameters or {}), **more} or None
    )


async def stream_of(*requests: InferenceRequest) -> AsyncIterator[InferenceRequest]:
    for request in requests:
        yield request


async def answers(model: MLModel, *requests: InferenceRequest) -> list[InferenceResponse]:
    """Every response to a stream of requests."""
    return [response async for response in model.predict_stream(stream_of(*requests))]


def error_of(response: InferenceResponse) -> tuple[int, str]:
    """The status and the sentence of a response that fails its request."""
    assert response.outputs == []
    said = response.parameters.model_extra
    return said["error_code"], said["error"]


def element(response: InferenceResponse) -> Any:
    """The one element of a response's one output."""
    (output,) = response.outputs
    assert output.shape == [1]
    (found,) = output.data.root
    return found
