"""Large messages, cut before protobuf reads them: what is long stays where it was received.

protobuf holds the interpreter's lock for a whole message, copies its tensors, and makes a Python
object of each element. So a large message is looked through here first, in steps and within the
limits; what is left for protobuf is short. The numbers of a message field by field:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from dataclasses import dataclass, field

from ..errors import BadRequestError, TooLargeError
from ..settings import LimitSettings
from ..tensors.bounds import check_counts
from ..tensors.raw import MAX_DIMENSIONS
from ..tensors.steps import OBJECTS, Steps
from ..tensors.wire_format import (
    LENGTH,
    VARINT,
    FieldsError,
    bounds,
    read_varint,
    tag,
    varint,
)

# Fields of ModelInferRequest, and of its InferInputTensor.
NAMES = (1, 2, 3)
PARAMETERS, INPUTS, OUTPUTS, RAW_INPUT_CONTENTS = 4, 5, 6, 7
SHAPE, INPUT_PARAMETERS, CONTENTS = 3, 4, 5
# Of a size in a shape, as protobuf writes it.
VARINT_BYTES = 10
# Fields that describe a tensor, beside its elements.
FIELDS_OF_A_TENSOR = 16

# A field of a tensor's contents: its number, its wire type, and where it lies in the view.
Content = tuple[int, int, memoryview]


@dataclass(slots=True)
class Cut:
    """A message in parts.

    Attributes:
        head: the message without its tensors' data.
        raw: each raw tensor.
        contents: of each input, the fields of its typed contents; None where it has none.
    """

    head: bytes
    raw: list[memoryview] = field(default_factory=list)
    contents: list[list[Content] | None] = field(default_factory=list)


def cut(message: bytes, limits: LimitSettings) -> Steps[Cut]:
    """Cut a ModelInferRequest.

    Raises:
        FieldsError: it is no message.
        TooLargeError: it has more of something than the limits allow.
    """
    view = memoryview(message)
    found = Cut(b"")
    kept: list[bytes | memoryview] = []
    left = _Left(limits)
    parameters = outputs = 0
    for number, kind, start, begin, end in bounds(message):
        if left.spend(1):
            yield
        if number == RAW_INPUT_CONTENTS and kind == LENGTH:
            found.raw.append(view[begin:end])
            check_counts(limits, inputs=len(found.raw))
            continue
        if number == INPUTS and kind == LENGTH:
            tensor, contents = yield from _cut_input(view[begin:end], left)
            found.contents.append(contents)
            check_counts(limits, inputs=len(found.contents))
            kept += (tag(INPUTS, LENGTH), varint(len(tensor)), tensor)
            left.keep(len(tensor))
            continue
        parameters += number == PARAMETERS
        outputs += number == OUTPUTS
        check_counts(limits, outputs=outputs, parameters=parameters)
        left.keep(end - start)
        kept.append(view[start:end])
    found.head = b"".join(kept)
    return found


def head_of(message: bytes) -> bytes:
    """Of a message that is refused, what says whose it is: model, version, id."""
    view = memoryview(message)
    kept: list[memoryview] = []
    try:
        for looked_at, (number, _, start, _, end) in enumerate(bounds(message)):
            if number in NAMES and end - start < OBJECTS:
                kept.append(view[start:end])
            if looked_at > OBJECTS:
                break
    except FieldsError:
        pass
    return b"".join(kept)


def _cut_input(tensor: memoryview, left: "_Left") -> Steps[tuple[bytes, list[Content] | None]]:
    kept: list[memoryview] = []
    contents: list[Content] | None = None
    parameters = 0
    for number, kind, start, begin, end in bounds(tensor):
        if left.spend(1):
            yield
        if number == CONTENTS and kind == LENGTH:
            inner = tensor[begin:end]
            contents = contents or []
            for of, how, at, first, last in bounds(inner):
                if left.spend(1):
                    yield
                if how == VARINT:  # a number that stands alone, behind its key
                    _, first = read_varint(inner, at)
                contents.append((of, how, inner[first:last]))
            continue
        if number == SHAPE and end - begin > VARINT_BYTES * MAX_DIMENSIONS:
            raise BadRequestError(f"An input has more than {MAX_DIMENSIONS} dimensions.")
        parameters += number == INPUT_PARAMETERS
        check_counts(left.limits, parameters=parameters)
        kept.append(tensor[start:end])
    return b"".join(kept), contents


class _Left:
    """What a message may still have."""

    def __init__(self, limits: LimitSettings):
        self.limits = limits
        self._most = self._fields = limits.elements + FIELDS_OF_A_TENSOR * limits.inputs
        self._bytes = limits.text_bytes

    def spend(self, fields: int) -> bool:
        """Another field; whether a step is done.

        Raises:
            TooLargeError: there were enough.
        """
        self._fields -= fields
        if self._fields < 0:
            raise TooLargeError(
                f"The message has more than {self._most} fields; send tensors as "
                "raw_input_contents, or several requests."
            )
        return not self._fields % OBJECTS

    def keep(self, size: int) -> None:
        """More that protobuf reads.

        Raises:
            TooLargeError: that is enough.
        """
        self._bytes -= size
        if self._bytes < 0:
            raise TooLargeError(
                f"The message has more than {self.limits.text_bytes} bytes beside its tensors' "
                "data; send less at once."
            )
