"""A model's configuration as Triton has it, as far as there is one.

https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from collections.abc import Iterable
from typing import Any

from mlserver import MLModel
from mlserver.types import MetadataTensor

from .answers import is_decoupled
from .batches import is_batched


def model_config(model: MLModel) -> dict[str, Any]:
    """The fields of Triton's `ModelConfig` that hold of a model, as its JSON has them.

    `max_batch_size` is 0 for a model whose requests are not put together: its shapes are whole.
    """
    settings = model.settings
    batched = has_batch_axis(model)
    config: dict[str, Any] = {
        "name": model.name,
        "platform": settings.platform,
        "backend": "python",
        "version_policy": {"all": {}},
        "max_batch_size": settings.max_batch_size if batched else 0,
        "input": _tensors(model.inputs, batched),
        "output": _tensors(model.outputs, batched),
        "model_transaction_policy": {"decoupled": is_decoupled(model)},
        "response_cache": {"enable": bool(settings.cache_enabled)},
    }
    if batched:
        delay = round(settings.max_batch_time * 1e6)
        config["dynamic_batching"] = {"max_queue_delay_microseconds": delay}
    return config


def has_batch_axis(model: MLModel) -> bool:
    """Whether the first axis of a model's tensors is that of its batch, in Triton's words: its
    requests are put together along it, and no shape that it declares says how long it is."""
    declared = [*(model.inputs or []), *(model.outputs or [])]
    return is_batched(model) and all(tensor.shape[:1] == [-1] for tensor in declared)


def _tensors(declared: Iterable[MetadataTensor] | None, batched: bool) -> list[dict[str, Any]]:
    return [
        {
            "name": tensor.name,
            "data_type": f"TYPE_{_datatype(tensor)}",
            "dims": list(tensor.shape[1:] if batched else tensor.shape),
        }
        for tensor in declared or []
    ]


def _datatype(tensor: MetadataTensor) -> str:
    name = getattr(tensor.datatype, "value", tensor.datatype)
    return "STRING" if name == "BYTES" else str(name)
