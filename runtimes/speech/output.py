"""Transcripts as V2 tensors and parameters. Pure."""

import json
from collections.abc import Sequence as Row
from statistics import fmean
from typing import Any

from mlserver.types import InferenceRequest, ResponseOutput

from mlserver_streaming.models.tensors import TEXT, bytes_output

from .recogniser import words_json
from .recording import Transcript


def outputs(request: InferenceRequest, rows: Row[Row[Transcript]]) -> list[ResponseOutput]:
    """`transcript` BYTES [N], a row's texts joined; `words` BYTES [N] where it is asked for."""
    texts = [" ".join(filter(None, (part.text for part in row))) for row in rows]
    found = [bytes_output("transcript", texts, TEXT)]
    if any(output.name == "words" for output in request.outputs or []):
        words = [
            json.dumps([word for part in row for word in words_json(part.words, part.offset)])
            for row in rows
        ]
        found.append(bytes_output("words", words, TEXT))
    return found


def parameters(rows: Row[Row[Transcript]]) -> dict[str, Any]:
    """What is said of the transcripts; of several recordings at once, that they are final."""
    found: dict[str, Any] = {"final": all(part.final for row in rows for part in row)}
    if len(rows) == 1 and rows[0]:
        first, last = rows[0][0], rows[0][-1]
        found |= {"utterance": first.index, "start": round(first.start, 3)}
        found["end"] = round(last.end, 3)
        known = [part.confidence for part in rows[0] if part.confidence is not None]
        if known:
            found["confidence"] = round(fmean(known), 4)
    return found
