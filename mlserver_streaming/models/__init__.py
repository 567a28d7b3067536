"""For authors of runtimes: a streaming model's base class, and what it reads and answers with.

A convenience, never a requirement: any MLModel is served. Names here are what a
runtime may rely on.

streaming_model  `respond` for each request; checks, ids, sequences, errors are done for you
sequences        requests that belong together, and their state
ordered          the items of a stream beside one another, their answers in order
parameters       a request's parameters, checked
tensors          text, bytes and arrays in a request's tensors, and into a response's
errors           how a request is refused
"""

from .errors import BusyError, ContentError, MLServerError, ParameterError, RequestError
from .ordered import ordered
from .parameters import flag, integer, number, parameter
from .sequences import Sequence, Sequences
from .streaming_model import StreamingModel
from .tensors import TEXT, bytes_output, elements, text_elements

__all__ = [
    "TEXT",
    "BusyError",
    "ContentError",
    "MLServerError",
    "ParameterError",
    "RequestError",
    "Sequence",
    "Sequences",
    "StreamingModel",
    "bytes_output",
    "elements",
    "flag",
    "integer",
    "number",
    "ordered",
    "parameter",
    "text_elements",
]
