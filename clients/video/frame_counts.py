"""What was found in each frame, as JSON lines: `frame_counts.jsonl`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import ResultError
from .detection_stream import Answer
from .frame_source import SourceFrame


class FrameCounts:
    """Writes a line for each frame to `path`, whose folder it makes. A context manager.

    A line is whole as soon as it is written, so that another program can follow the file. Raises
    ResultError when it cannot write there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise ResultError(f"{path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, frame: SourceFrame, answer: Answer, dropped: int) -> None:
        """Append a frame's line; `dropped` is how many frames were left out so far."""
        try:
            self._file.write(json.dumps(frame_line(frame, answer, dropped)) + "\n")
        except OSError as error:
            raise ResultError(f"{self.path} cannot be written: {error.strerror}") from error


def frame_line(frame: SourceFrame, answer: Answer, dropped: int) -> dict[str, Any]:
    """A frame's line as a dictionary.

    `time` is in seconds from the source's first frame; `latency_ms` from sending the frame to its
    response, `age_ms` from reading it; `box` is left, top, right, bottom in pixels.
    """
    found, labels, tracks = answer.sight.detections, answer.sight.labels, answer.sight.track_ids
    line: dict[str, Any] = {
        "frame": frame.index,
        "time": round(frame.time, 4),
        "latency_ms": round(answer.latency * 1000, 2),
        "age_ms": round((answer.answered_at - frame.read_at) * 1000, 2),
        "dropped": dropped,
        "counts": dict(Counter(labels)),
        "detections": [
            {
                "box": [round(float(side), 1) for side in found.boxes[index]],
                "score": round(float(found.scores[index]), 4),
                "class": int(found.classes[index]),
                "label": labels[index],
                **({} if tracks is None else {"track_id": int(tracks[index])}),
            }
            for index in range(len(found))
        ],
    }
    if answer.error is not None:
        line["error"] = str(answer.error)
    return line
