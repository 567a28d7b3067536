"""A real data plane over models of a test's own, without a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.settings import ModelParameters, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, Parameters
from prometheus_client import REGISTRY

from mlserver_streaming.extension import data_plane
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from mlserver_streaming.streams.model_registry import ModelRegistry


@asynccontextmanager
async def plane_of(
    root: Path,
    models: dict[str, type[MLModel]],
    cached: bool = False,
    extra: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[StreamingDataPlane]:
    """A data plane that serves these classes under these names, "name/version" with a version.

    Args:
        root: where settings.json is looked for.
        cached: whether the models use the cache.
        extra: the models' `parameters.extra`.
        settings: of MLServer.
    """
    registry = ModelRegistry(
        model_initialiser=lambda model: models[named(model.name, model.version)](model)
    )
    before = set(REGISTRY._collector_to_names)
    plane = data_plane(Settings(model_repository_root=str(root), **settings), registry)
    try:
        for name in models:
            model, _, version = name.partition("/")
            await registry.load(
                ModelSettings(
                    name=model,
                    implementation=MLModel,
                    parameters=ModelParameters(version=version or None, extra=extra),
                    cache_enabled=cached,
                )
            )
        yield plane
    finally:
        await plane.cache.close()
        # The metrics of a data plane can be registered once only.
        for collector in set(REGISTRY._collector_to_names) - before:
            REGISTRY.unregister(collector)


def named(name: str, version: str | None) -> str:
    return f"{name}/{version}" if version else name


def ask(text: str = "a", id: str | None = "r", **parameters: Any) -> InferenceRequest:
    return InferenceRequest(
        id=id,
        inputs=[{"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}],
        parameters=parameters or None,
    )


def asked(request: InferenceRequest) -> str:
    (found,) = request.inputs[0].data.root
    return found


def answer(text: str, id: str | None = None, **parameters: Any) -> InferenceResponse:
    return InferenceResponse(
        model_name="m",
        id=id,
        outputs=[{"name": "y", "datatype": "BYTES", "shape": [1], "data": [text]}],
        parameters=Parameters(**parameters) if parameters else None,
    )


def failure(text: str, code: Any, id: str | None = None) -> InferenceResponse:
    parameters = Parameters(error=text, error_code=code)
    return InferenceResponse(model_name="m", id=id, outputs=[], parameters=parameters)


def said(response: InferenceResponse) -> list[str]:
    return [element for output in response.outputs for element in output.data.root]


async def stream_of(*requests: InferenceRequest) -> AsyncIterator[InferenceRequest]:
    for request in requests:
        yield request
