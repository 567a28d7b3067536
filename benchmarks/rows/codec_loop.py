"""The bare limit of the JPEG rows: decode and encode frames with cv2, no server, no wire.

`python -m benchmarks.rows.codec_loop SECONDS THREADS` prints frames, seconds, CPU seconds and page
faults, as JSON. It raises glibc's thresholds first, as the project's jpeg-model does.
"""

import json
import os
import pickle
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from runtimes.memory import keep_freed_memory

from ..contenders.process import Usage, on_cores
from ..inputs.frames import QUALITY, Scene, frames
from ..loads.samples import Sample, sample

ROOT = Path(__file__).resolve().parents[2]


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


def loop(coded: Sequence[bytes], seconds: float, threads: int) -> dict[str, float]:
    """Run it here."""
    keep_freed_memory()
    cv2.setNumThreads(1)
    counts: list[int] = []
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    workers = [
        threading.Thread(target=recode_until, args=(begun + seconds, coded, counts))
        for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    after, ended = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    return {
        "frames": sum(counts),
        "seconds": ended - begun,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "minor_faults": after.ru_minflt - before.ru_minflt,
    }


def measure_loop(seconds: float, threads: int, cores: set[int], scene: Scene) -> Sample:
    """Run it in a fresh process, as servers run."""
    command = [sys.executable, "-m", "benchmarks.rows.codec_loop", str(seconds), str(threads)]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")
    }
    with on_cores(cores):
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            check=True,
            # Made elsewhere: drawing them would settle how this process keeps its memory.
            input=pickle.dumps(frames(scene)),
            capture_output=True,
        )
    found = json.loads(done.stdout)
    used = Usage(found["cpu_seconds"], found["minor_faults"])
    return sample(found["frames"], found["seconds"], 0, 0.0, used)


if __name__ == "__main__":
    given = pickle.loads(sys.stdin.buffer.read())
    print(json.dumps(loop(given, float(sys.argv[1]), int(sys.argv[2]))))
