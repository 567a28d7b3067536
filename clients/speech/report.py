"""What is told of recognised recordings: word error rate, real-time factor, latencies. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import jiwer
import numpy as np

from .audio_source import Clip

HEADERS = ("mode", "recordings", "failed", "WER", "RTF", "partials p50/p95", "finals p50/p95")

# Short forms that only writing has.
_SPOKEN = {"mr": "mister", "mrs": "missus", "dr": "doctor"}
# What recognisers that write and references that do not are compared by: the words alone.
_CLEAN = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.SubstituteRegexes({"[-\u2010-\u2015]": " "}),
        jiwer.RemovePunctuation(),  # type: ignore[no-untyped-call]
        jiwer.SubstituteWords(_SPOKEN),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
    ]
)


@dataclass
class SpeechReport:
    """The results of one run in one mode; latencies in seconds."""

    mode: str
    transcripts: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    partials: list[float] = field(default_factory=list)
    finals: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, index: int, text: str) -> None:
        """An utterance of recording `index`, or all of it."""
        before = self.transcripts.get(index, "")
        self.transcripts[index] = f"{before} {text}".strip()

    def row(self, clips: list[Clip]) -> tuple[str, ...]:
        """The table's row."""
        sound = sum(clip.seconds for clip in clips)
        return (
            self.mode,
            str(len(clips)),
            str(len(self.errors)),
            "-" if (rate := self.word_error_rate(clips)) is None else f"{rate:.3f}",
            f"{self.seconds / sound:.2f}" if sound else "-",
            _percentiles(self.partials),
            _percentiles(self.finals),
        )

    def word_error_rate(self, clips: list[Clip]) -> float | None:
        """Of the recordings whose text is known; None where there are none."""
        known = [(i, clip.text) for i, clip in enumerate(clips) if clip.text]
        if not known:
            return None
        said = [_CLEAN(text) for _, text in known]
        heard = [_CLEAN(self.transcripts.get(index, "")) for index, _ in known]
        return float(jiwer.wer(said, heard))

    def lines(self, clips: list[Clip]) -> Iterator[str]:
        """A JSON line for each recording."""
        for index, clip in enumerate(clips):
            found: dict[str, object] = {"mode": self.mode, "audio_filepath": clip.name}
            found |= {"duration": round(clip.seconds, 3)}
            found |= {"transcript": self.transcripts.get(index, "")}
            if clip.text is not None:
                found["text"] = clip.text
            if index in self.errors:
                found["error"] = self.errors[index]
            yield json.dumps(found)


def table(reports: list[SpeechReport], clips: list[Clip]) -> str:
    """The reports as a table; latencies in milliseconds."""
    rows = [HEADERS, *(report.row(clips) for report in reports)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADERS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _percentiles(seconds: list[float]) -> str:
    if not seconds:
        return "-"
    return "/".join(f"{np.percentile(seconds, each) * 1000:.0f}" for each in (50, 95)) + " ms"
