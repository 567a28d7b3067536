"""Who is measured, in which version, with which settings: what stands beside the results."""

from collections.abc import Mapping

from .peer_servers import BENTOML, KSERVE, LITSERVE, PEERS, TRITON

# What `version` of a contender's machine says, or the pin of a peer's own environment.
PINS = {
    TRITON: ("triton", "nvidia-pytriton"),
    LITSERVE: ("litserve", "litserve"),
    BENTOML: ("bentoml", "bentoml"),
    KSERVE: ("kserve", "kserve"),
}
SETTINGS = {
    "ours": "as shipped (metrics, gzip and the Triton port on), the text model's delay 0; paced "
    "token streams: `limits.streams` 8192",
    "stock MLServer": "the settings of its streaming example (`parallel_workers` 0, no metrics, no "
    "gzip), without httptools, as `pip install mlserver` leaves it",
    "a stock model, unchanged": "on both sides one model, one environment (httptools) and the "
    "example's settings with metrics; ours adds `model_repository_implementation`",
    TRITON: "the `tritonserver` inside the wheel (2.51.0), Python backend, decoupled models, one "
    "instance a model (two on two cores), metrics off; token streams as `async def execute`",
    LITSERVE: "`fast_queue`, `accelerator` cpu, one worker a core and as many API servers; streams "
    "as async generators with `enable_async`; images and tensors as multipart files",
    BENTOML: "one worker a core, streams as async generators, images and tensors as raw bodies, "
    "access log off, uvloop and httptools added",
    KSERVE: "`ModelServer` over gRPC with raw tensors, latency and access logs off; its listeners, "
    "which have no address setting, moved to the loopback",
    "hand-written": "`peers/by_hand/`: Starlette on uvicorn with uvloop and httptools, no access "
    "log; `grpc.aio` on uvloop with MLServer's V2 messages",
    "bare limits": "pre-encoded events of our size from an asyncio socket, a send an event; cv2's "
    "codec alone in 1 or 2 threads, glibc's thresholds raised; a `grpc.aio` server that only "
    "reads the tensor",
}


def settings_table(machine: Mapping[str, str]) -> list[str]:
    """Markdown: contender, version, settings."""
    lines = ["| contender | version | settings |", "|---|---|---|"]
    versions = {"stock MLServer": machine["mlserver"], "ours": f"on mlserver {machine['mlserver']}"}
    versions |= {name: pinned(*pin) for name, pin in PINS.items()}
    for name, words in SETTINGS.items():
        lines.append(f"| {name} | {versions.get(name, '')} | {words} |")
    return lines


def pinned(folder: str, package: str) -> str:
    """The version that a peer's requirements name."""
    for line in (PEERS / folder / "requirements.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if name == package:
            return f"{package} {version}"
    raise ValueError(f"{folder} pins no {package}")
