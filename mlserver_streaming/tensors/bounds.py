"""How much a request may hold, on every wire; looked at before anything is made of it."""

from ..errors import TooLargeError
from ..settings import LimitSettings
from .raw import DTYPES

# What a tensor's numbers may take once they are read, as a multiple of the request that brought
# them; the request itself is there too. Short numbers (digits, varints) grow most.
MOST_GROWTH = 3
# Nobody is hurt by less.
SMALL_TENSOR_BYTES = 16 * 1024 * 1024


def check_counts(
    limits: LimitSettings, inputs: int = 0, outputs: int = 0, parameters: int = 0
) -> None:
    """
    Args:
        outputs: those that are asked for.
        parameters: of the request, or of one of its tensors.

    Raises:
        TooLargeError: there are more than `limits.inputs` of one of them.
    """
    most = limits.inputs
    if inputs > most:
        raise TooLargeError(f"The request has more than {most} inputs; send fewer, larger tensors.")
    if outputs > most:
        raise TooLargeError(
            f"The request asks for more than {most} outputs; ask for none to get all."
        )
    if parameters > most:
        raise TooLargeError(f"The request has more than {most} parameters in one place.")


def check_elements(limits: LimitSettings, count: int) -> None:
    """
    Args:
        count: elements of a request's BYTES tensors, all together.

    Raises:
        TooLargeError: they are more than `limits.elements`.
    """
    if count > limits.elements:
        raise TooLargeError(
            f"The request's BYTES tensors have more than {limits.elements} elements; send several "
            "requests."
        )


def check_growth(name: str, datatype: str, count: int, sent: int) -> None:
    """
    Args:
        count: numbers in a tensor.
        sent: bytes of the request.

    Raises:
        TooLargeError: the numbers take many times the memory of the text that they came as.
    """
    size = count * DTYPES[datatype].itemsize
    if size > SMALL_TENSOR_BYTES and size > MOST_GROWTH * sent:
        raise TooLargeError(
            f"Input '{name}' takes {size} bytes as {datatype}, more than {MOST_GROWTH} times its "
            "request; send its numbers as raw bytes, or as a smaller datatype."
        )
