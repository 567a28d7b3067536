"""What models did since the service started, as Triton counts it.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_statistics.html
"""

from typing import Any

from mlserver import MLModel

from ..streams.data_plane import StreamingDataPlane
from ..streams.model_registry import UNVERSIONED
from ..watch.statistics import Duration, Served


async def statistics(
    plane: StreamingDataPlane, name: str = "", version: str | None = None
) -> dict[str, Any]:
    """`ModelStatisticsResponse` as JSON: of one version of a model, all its versions, or all models
    that the caller may use.

    Raises:
        MLServerError: the model is not there, or not for the caller.
    """
    models = [await plane.model(name, version)] if name else await plane.models()
    if name and not version:
        models = [model for model in await plane.models() if model.name == name]
    return {"model_stats": [_of(model, plane) for model in models]}


def _of(model: MLModel, plane: StreamingDataPlane) -> dict[str, Any]:
    hits, misses = Duration(), Duration()
    if model.settings.cache_enabled:
        found = plane.cache.figures.of(model.name, model.version)
        hits, misses = found.hits, found.misses
    return {
        "name": model.name,
        "version": model.version or UNVERSIONED,
        **counted(plane.served(model), hits, misses),
    }


def counted(seen: Served, hits: Duration, misses: Duration) -> dict[str, Any]:
    """A model's figures.

    Args:
        hits, misses: of the cache before the model. It did nothing for the former.
    """
    ran = max(0, seen.successes - hits.count)
    ran_ns = max(0, seen.success_ns - hits.ns)
    whole = Duration(
        seen.successes, seen.success_ns + seen.queue_ns + seen.input_ns + seen.output_ns
    )
    read, worked, written = (Duration(ran, ns) for ns in (seen.input_ns, ran_ns, seen.output_ns))
    batches = seen.batches or ({1: worked} if ran else {})
    return {
        "last_inference": seen.last_ms,
        "inference_count": sum(rows * runs.count for rows, runs in batches.items()),
        "execution_count": sum(runs.count for runs in batches.values()),
        "inference_stats": {
            "success": _duration(whole),
            "fail": _duration(Duration(seen.failures, seen.failure_ns)),
            "queue": _duration(Duration(seen.successes, seen.queue_ns)),
            "compute_input": _duration(read),
            "compute_infer": _duration(worked),
            "compute_output": _duration(written),
            "cache_hit": _duration(hits),
            "cache_miss": _duration(misses),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(_share(read, runs.count, ran)),
                "compute_infer": _duration(runs),
                "compute_output": _duration(_share(written, runs.count, ran)),
            }
            for rows, runs in sorted(batches.items())
        ],
    }


def _share(whole: Duration, runs: int, ran: int) -> Duration:
    """What is known of all requests only, shared out over the runs of one size."""
    return Duration(runs, whole.ns * min(runs, ran) // max(1, ran))


def _duration(found: Duration) -> dict[str, int]:
    return {"count": found.count, "ns": found.ns}
