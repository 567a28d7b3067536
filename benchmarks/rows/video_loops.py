"""The bare limits of the video rows: plain OpenCV and onnxruntime, no server and no wire.

They share no code with the runtimes that they are measured against.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def frames_per_second(work: Callable[[int], Any], seconds: float) -> float:
    """How often `work`, given 0, 1, 2, ..., is done in a second."""
    done, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        work(done)
        done += 1
    return done / (time.perf_counter() - begun)


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


def detector_loop(path: Path, images: Sequence[np.ndarray], threads: int) -> Callable[[int], Any]:
    """onnxruntime alone, over frames that lie ready as tensors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    tensors = [letterboxed(image) for image in images]
    return lambda index: session.run(None, {name: tensors[index % len(tensors)]})


def letterboxed(image: np.ndarray, side: int = 640) -> np.ndarray:
    """float32 [1, 3, side, side], RGB from 0 to 1, grey where there is no image."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)))
    canvas = np.full((side, side, 3), 114, np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None], np.float32) / 255
