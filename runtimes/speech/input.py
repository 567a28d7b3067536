"""What a request to the speech model holds: recordings, or a chunk of one. Pure."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from mlserver.types import InferenceRequest, RequestInput, TensorData

from mlserver_streaming.audio.endpointing import Cutting
from mlserver_streaming.audio.errors import AudioError, TooLongError
from mlserver_streaming.audio.listening import Chunk, Samples
from mlserver_streaming.audio.samples import MAX_RATE, MIN_RATE, from_floats, from_pcm
from mlserver_streaming.models.errors import (
    ContentError,
    MLServerError,
    ParameterError,
    RequestError,
)
from mlserver_streaming.models.parameters import integer, number, parameter
from mlserver_streaming.models.tensors import BASE64, content_type, elements, from_base64

MOST_RECORDINGS = 8
SAMPLE_TYPES = ("INT16", "FP32")
DATATYPES = ("BYTES", *SAMPLE_TYPES)
FORMATS = (b"RIFF", b"fLaC", b"OggS")


def recordings(request: InferenceRequest, tensor: RequestInput) -> list[Chunk]:
    """The recordings of a unary request, 1 to 8.

    Raises:
        RequestError: there are none, or too many; the shape is none of recordings.
        ParameterError: the sample rate is missing, or none.
        ContentError: samples that cannot be.
    """
    found = _chunks(request, tensor, None)
    if not 1 <= len(found) <= MOST_RECORDINGS:
        raise RequestError(
            f"A request holds 1 to {MOST_RECORDINGS} recordings, not {len(found)} (input 'audio' "
            f"has shape {list(tensor.shape)})."
        )
    return found


def chunk(request: InferenceRequest, tensor: RequestInput, rate: int | None) -> Chunk:
    """The chunk in one request of a stream.

    Args:
        rate: the recording's sample rate, where it is known; the request need not repeat it.

    Raises:
        RequestError, ParameterError, ContentError: as `recordings`.
    """
    found = _chunks(request, tensor, rate)
    if len(found) != 1:
        raise RequestError(
            f"In a stream each request holds a chunk of one recording, not {len(found)} (input "
            f"'audio' has shape {list(tensor.shape)}); send several recordings as sequences."
        )
    return found[0]


def cutting(request: InferenceRequest, usual: Cutting) -> Cutting:
    """How a recording's utterances are cut, as its first request has it, in OpenAI's words.

    Args:
        usual: what holds where it says nothing.

    Raises:
        ParameterError: a parameter is no number, or out of its range.
    """
    pause = integer(request, "silence_duration_ms", round(usual.pause * 1000), 100, 5000)
    before = integer(request, "prefix_padding_ms", round(usual.before * 1000), 0, 1000)
    threshold = number(request, "threshold", usual.threshold, 0.05, 0.95)
    return replace(usual, pause=pause / 1000, before=before / 1000, threshold=threshold)


def is_empty(tensor: RequestInput) -> bool:
    """Whether there is nothing in it: no samples, or BYTES of nothing."""
    if str(tensor.datatype) in SAMPLE_TYPES:
        return prod(tensor.shape) == 0
    return all(element in (b"", "") for element in elements(tensor))


def unusable(index: int, error: AudioError) -> MLServerError:
    """The error for whoever sent recording number `index`."""
    text = f"Recording {index} of input 'audio' cannot be used: {error}."
    if isinstance(error, TooLongError):
        return RequestError(text[:-1] + "; send it in chunks, as a stream.", 413)
    return ContentError(text)


def _chunks(request: InferenceRequest, tensor: RequestInput, rate: int | None) -> list[Chunk]:
    given = parameter(request, "sample_rate")
    if given is not None:
        rate = integer(request, "sample_rate", 0, MIN_RATE, MAX_RATE)
    if str(tensor.datatype) not in SAMPLE_TYPES:
        return [_file(tensor, index, data) for index, data in enumerate(elements(tensor))]
    if rate is None:
        raise ParameterError(
            f"Samples need the parameter 'sample_rate', in Hz ({MIN_RATE} to {MAX_RATE})."
        )
    rows = _rows(tensor)
    found: list[Chunk] = []
    for index, row in enumerate(rows):
        try:
            samples = from_pcm(row) if row.dtype == np.int16 else from_floats(row)
        except AudioError as error:
            raise unusable(index, error) from error
        found.append(Samples(samples, rate))
    return found


def _rows(tensor: RequestInput) -> Any:
    """Samples [N, n] of a tensor [n] or [N, n], int16 or float32."""
    data: Any = tensor.data.root if isinstance(tensor.data, TensorData) else tensor.data
    dtype = np.int16 if str(tensor.datatype) == "INT16" else np.float32
    shape = list(tensor.shape)
    try:
        flat = np.asarray(data if isinstance(data, np.ndarray) else elements(tensor), dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"Input 'audio' is {tensor.datatype}, but its data are not.") from error
    if len(shape) not in (1, 2) or prod(shape) != flat.size:
        raise RequestError(
            f"Samples have the shape [n] or [N, n]; input 'audio' has {shape} and {flat.size} "
            "sample(s)."
        )
    return flat.reshape(shape if len(shape) == 2 else [1, -1])


def _file(tensor: RequestInput, index: int, data: Any) -> bytes:
    """An element of a BYTES tensor: raw bytes, or (in JSON, where bytes cannot be) base64 text."""
    if isinstance(data, bytes | memoryview):
        raw = bytes(data)
        declared = content_type(tensor) == BASE64
        if not declared:
            return raw
        if raw.startswith(FORMATS):
            return raw
        data = raw.decode(errors="replace")
    if not isinstance(data, str):
        raise RequestError(
            f"Element {index} of input 'audio' is a {type(data).__name__}; send a file's bytes or "
            "their base64 text."
        )
    undone = from_base64(data.encode(errors="replace"))
    if undone is None:
        raise ContentError(
            f"Element {index} of input 'audio' is neither a file's bytes nor base64 text."
        )
    return undone
