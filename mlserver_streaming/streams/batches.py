"""What a model runs when MLServer makes one request of several (its adaptive batching)."""

from time import perf_counter_ns
from typing import Any

from mlserver import MLModel
from mlserver.batching.hooks import _AdaptiveBatchingAttr
from mlserver.types import InferenceRequest

from ..watch.statistics import Duration

# Callers choose how many rows they send: past so many sizes, runs of others are not counted.
MOST_SIZES = 1024


def is_batched(model: MLModel) -> bool:
    """Whether requests to a model are put together."""
    return hasattr(model, _AdaptiveBatchingAttr)


def watch_batches(model: MLModel, batches: dict[int, Duration]) -> None:
    """Count each run of a model whose requests are put together.

    Args:
        batches: the runs by how many rows they had.
    """
    batcher = getattr(model, _AdaptiveBatchingAttr, None)
    if batcher is None:
        return
    predict = batcher._predict_fn

    async def counted(request: InferenceRequest) -> Any:
        begun = perf_counter_ns()
        response = await predict(request)
        rows = request.inputs[0].shape[0] if request.inputs and request.inputs[0].shape else 1
        if rows in batches or len(batches) < MOST_SIZES:
            batches.setdefault(rows, Duration()).add(perf_counter_ns() - begun)
        return response

    batcher._predict_fn = counted
