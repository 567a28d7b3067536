"""The flags of video_client for models that find objects, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from ..command import option
from ..grpc_messages import Parameter
from .frame_buffer import Policy
from .frame_source import CONNECT_S
from .grpc_detections import Thresholds
from .stream_settings import StreamSettings
from .watch import WatchSettings

RETRY_S = 60.0
SHARE = click.FloatRange(0, 1)
ABOVE_0 = click.FloatRange(min=0, min_open=True)

OPTIONS = (
    option(
        "--policy",
        envvar="CLIENT_POLICY",
        type=click.Choice([policy.value for policy in Policy]),
        help="Of frames that come faster than the model: 'wait' sends every one, in order; "
        "'latest' keeps only the newest (left out: 'latest' for cameras and streams, else 'wait').",
    ),
    option(
        "--stride",
        envvar="CLIENT_STRIDE",
        default=1,
        type=click.IntRange(min=1),
        help="Of so many frames, send only the first.",
    ),
    option(
        "--fps-cap",
        envvar="CLIENT_FPS_CAP",
        type=ABOVE_0,
        help="Of each second of the source, send at most so many frames.",
    ),
    option(
        "--realtime",
        is_flag=True,
        envvar="CLIENT_REALTIME",
        help="Read a file at its own pace, as if it were a camera ('latest' does).",
    ),
    option(
        "--pictures",
        is_flag=True,
        envvar="CLIENT_PICTURES",
        help="Keep each frame as a picture of its own size in the folder 'annotated', in place of "
        "annotated.mp4.",
    ),
    option(
        "--tensor",
        is_flag=True,
        envvar="CLIENT_TENSOR",
        help="Send letterboxed FP32 tensors in place of JPEGs.",
    ),
    option(
        "--img-size",
        envvar="CLIENT_IMG_SIZE",
        default=640,
        type=click.IntRange(32, 4096),
        help="Side of those tensors, in pixels.",
    ),
    option(
        "--shared-memory",
        is_flag=True,
        envvar="CLIENT_SHARED_MEMORY",
        help="Pass frames through shared memory, to a server on this host that has it turned on.",
    ),
    option(
        "--quality",
        envvar="CLIENT_QUALITY",
        default=90,
        type=click.IntRange(1, 100),
        help="Quality of the JPEGs that are sent.",
    ),
    option(
        "--confidence",
        envvar="CLIENT_CONFIDENCE",
        type=SHARE,
        help="Score below which a detection is left out (left out: the model's own, 0.25).",
    ),
    option(
        "--iou",
        envvar="CLIENT_IOU",
        type=SHARE,
        help="Overlap above which the weaker of two boxes is left out (left out: the model's own).",
    ),
    option(
        "--classes",
        envvar="CLIENT_CLASSES",
        help="Only these, by name or number: 'car,bus' (left out: all).",
    ),
    option(
        "--track/--no-track",
        envvar="CLIENT_TRACK",
        default=True,
        help="Follow objects from frame to frame, with a number each.",
    ),
    option("--model-version", envvar="CLIENT_MODEL_VERSION", default="", help="Of the model."),
    option(
        "--input-name",
        envvar="CLIENT_INPUT_NAME",
        help="Of the model's input (left out: 'image' for JPEGs, 'images' for tensors).",
    ),
    option(
        "--output-names",
        envvar="CLIENT_OUTPUT_NAMES",
        default="",
        help="Outputs to ask for, with commas between (left out: the model's usual).",
    ),
    option(
        "--stream-id",
        envvar="CLIENT_STREAM_ID",
        default="cam-001",
        help="What the ids of the requests begin with.",
    ),
    option(
        "--connect-timeout",
        envvar="CLIENT_CONNECT_TIMEOUT",
        default=CONNECT_S,
        type=ABOVE_0,
        help="Seconds that a URL has to answer.",
    ),
    option(
        "--retry-seconds",
        envvar="CLIENT_RETRY_SECONDS",
        default=RETRY_S,
        type=click.FloatRange(min=0),
        help="How long a server or a live source that went away is tried again.",
    ),
)


def watch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add these flags; the command gets them as keywords."""
    for add in reversed(OPTIONS):
        command = add(command)
    return command


def watch_settings(flags: Mapping[str, Any], **more: Any) -> WatchSettings:
    """How the flags want the source to be watched."""
    policy = flags["policy"]
    return WatchSettings(
        policy=Policy(policy) if policy else None,
        stride=flags["stride"],
        fps_cap=flags["fps_cap"],
        pictures=flags["pictures"],
        **more,
    )


def stream_settings(flags: Mapping[str, Any], **more: Any) -> StreamSettings:
    """What the flags want to be sent."""
    parameters: dict[str, Parameter] = {
        name: flags[name] for name in ("confidence", "iou", "classes") if flags[name] is not None
    }
    if flags["track"]:
        parameters["track"] = True
    usual = Thresholds()
    return StreamSettings(
        version=flags["model_version"],
        stream_id=flags["stream_id"],
        side=flags["img_size"] if flags["tensor"] else None,
        input_name=flags["input_name"],
        outputs=tuple(name.strip() for name in flags["output_names"].split(",") if name.strip()),
        parameters=parameters,
        thresholds=Thresholds(
            usual.confidence if flags["confidence"] is None else flags["confidence"],
            usual.iou if flags["iou"] is None else flags["iou"],
        ),
        quality=flags["quality"],
        shared_memory=flags["shared_memory"],
        retry_s=flags["retry_seconds"],
        **more,
    )
