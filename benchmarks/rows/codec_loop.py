"""The bare limit of the JPEG rows: decode and encode frames with cv2, no server, no wire."""

import multiprocessing
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np

from runtimes.memory import keep_freed_memory

from ..contenders.process import on_cores
from ..inputs.frames import QUALITY, Scene, frames
from ..loads.samples import Sample, sample


def measure_loop(seconds: float, threads: int, cores: set[int], scene: Scene) -> Sample:
    """Run it in a fresh process, as servers run; the frames are made here, since drawing them would
    settle how that process keeps its memory."""
    spawn = multiprocessing.get_context("spawn")
    with on_cores(cores), ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(loop, frames(scene), seconds, threads).result()


def loop(coded: Sequence[bytes], seconds: float, threads: int) -> Sample:
    """Run it here, with glibc's thresholds raised as the project's jpeg-model does."""
    keep_freed_memory()
    cv2.setNumThreads(1)
    counts: list[int] = []
    before, begun = time.process_time(), time.perf_counter()
    arguments = (begun + seconds, coded, counts)
    workers = [threading.Thread(target=recode_until, args=arguments) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took, used = time.perf_counter() - begun, time.process_time() - before
    return sample(sum(counts), took, 0, 0.0, used)


def recode_until(until: float, coded: Sequence[bytes], counts: list[int]) -> None:
    """One thread's work."""
    done = 0
    while time.perf_counter() < until:
        frame = np.frombuffer(coded[done % len(coded)], np.uint8)
        image = cv2.imdecode(frame, cv2.IMREAD_COLOR)
        assert image is not None
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        done += 1
    counts.append(done)
