"""Objects in video, beside what each part could do alone.

Service, client and bare loops share all cores, as a user's machine has them. The bare loops, plain
OpenCV and onnxruntime, share no code with the runtimes that they are measured against. VIDEO and
DETECTOR name others than the project's own: a video, and an ONNX model, without which its row is
left out.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mlserver.grpc import dataplane_pb2 as pb

from clients.video.frame_source import FrameSource

from ..contenders.contenders import OURS, ROOT, change_model, ours
from ..contenders.peer_servers import Start
from ..contenders.process import Contender
from ..inputs.frames import element_requests, frame_requests
from ..loads.in_flight import items
from ..loads.samples import Sample, Target
from .measured import RATE, Call, Case, Plan, Row, measured

DATA = ROOT.parent / "shared" / "data"
VIDEO = os.environ.get("VIDEO", str(DATA / "car_traffic.mp4"))
DETECTOR = Path(os.environ.get("DETECTOR", DATA / "models" / "yolov8n_int8.onnx"))
FRAMES, SIDE, IN_FLIGHT = 60, 640, 4
OPENCV, ONNX = "bare OpenCV loop", "onnxruntime alone"
DIRECT, BEHIND = f"{OURS}, direct", f"{OURS}, behind another"


def video(plan: Plan) -> list[Row]:
    """Frames a second of motion, detector and upstream."""
    with FrameSource(VIDEO if Path(VIDEO).is_file() else "sample") as source:
        read = list(islice(iter(source.read, None), FRAMES))
    images = [frame.image for frame in read if frame.image is not None]
    jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]

    def asked(requests: Sequence[bytes], in_flight: int = IN_FLIGHT) -> Call:
        return (items, "grpc", requests, has_outputs, in_flight, 1, True, False, True)

    calls: dict[str, Call] = {
        OURS: asked(element_requests("motion", "image", jpegs)),
        OPENCV: (loop, motion_loop(jpegs)),
    }
    cases = [Case("video, motion", "frame", calls, [Target(OPENCV, at_least=0.8)])]
    if DETECTOR.is_file():
        calls = {
            OURS: asked(element_requests("detector", "image", jpegs[:30])),
            ONNX: (loop, detector_loop(DETECTOR, images[:30])),
        }
        cases.append(Case("video, detector", "frame", calls, [Target(ONNX, at_least=0.9)]))
    rows = measured(plan, {OURS: with_detector}, cases, shared=True)
    there = ours(plan.folder / "there", plan.all_cores)
    upstream: dict[str, Start] = {
        DIRECT: lambda folder, cores: there,
        BEHIND: partial(behind, there),
    }
    cases = []
    for in_flight, at_least in ((8, 0.8), (1, None)):
        models = {DIRECT: "jpeg-model", BEHIND: "behind"}
        calls = {who: asked(frame_requests(each), in_flight) for who, each in models.items()}
        title = f"video, upstream, JPEG, {in_flight} in flight"
        cases.append(Case(title, "frame", calls, [Target(DIRECT, at_least, of=BEHIND)], DIRECT))
    return rows + measured(plan, upstream, cases, shared=True)


def with_detector(folder: Path, cores: set[int]) -> Contender:
    """The service; its detector has the model of its own, where there is one."""
    contender = ours(folder, cores)
    if DETECTOR.is_file():
        shutil.copy(DETECTOR, folder / "model-settings" / "detector" / "model.onnx")
        change_model(folder, "detector", inference_threads=1)
    return contender


def behind(there: Contender, folder: Path, cores: set[int]) -> Contender:
    """The service, and in it the JPEG model of another."""
    contender, placed = ours(folder, cores), folder / "model-settings" / "behind"
    placed.mkdir()
    extra = {"model": "jpeg-model"}
    settings = {
        "name": "behind",
        "implementation": "runtimes.upstream.UpstreamModel",
        "parameters": {"uri": f"grpc://127.0.0.1:{there.grpc}", "extra": extra},
    }
    (placed / "model-settings.json").write_text(json.dumps(settings))
    return contender


def has_outputs(index: int, answer: bytes) -> bool:
    return bool(pb.ModelInferResponse.FromString(answer).outputs)


def loop(seconds: float, work: Callable[[int], Any]) -> Sample:
    """How often `work`, given 0, 1, 2, ..., is done in a second."""
    done, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        work(done)
        done += 1
    return Sample({RATE: done / (time.perf_counter() - begun)})


def motion_loop(jpegs: Sequence[bytes]) -> Callable[[int], Any]:
    """Decode, subtract the background, clean the mask, find outlines."""
    subtractor = cv2.createBackgroundSubtractorMOG2(500, 20, detectShadows=False)
    subtractor.setBackgroundRatio(0.7)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))

    def work(index: int) -> Any:
        data = np.frombuffer(jpegs[index % len(jpegs)], np.uint8)
        image: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
        mask = subtractor.apply(image)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return [cv2.boundingRect(each) for each in outlines]

    return work


def detector_loop(path: Path, images: Sequence[Any]) -> Callable[[int], Any]:
    """onnxruntime alone, over frames that lie ready as tensors, float32 [1, 3, SIDE, SIDE]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    tensors = [cv2.dnn.blobFromImage(each, 1 / 255, (SIDE, SIDE), swapRB=True) for each in images]
    return lambda index: session.run(None, {name: tensors[index % len(tensors)]})
