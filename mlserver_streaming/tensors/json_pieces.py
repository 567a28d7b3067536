"""JSON that is too long to be parsed at once: long rows of numbers are cut out and read by pieces.

`orjson` holds the interpreter's lock for a whole body, half a second for 64 MiB, and makes 32
bytes of a number that had two. Here a long list of numbers, nested or not, becomes an array as it
is read. What is left is short, bounded, and parsed as ever, with a mark where each list was.
"""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from ..errors import BadRequestError, TooLargeError
from ..settings import LimitSettings
from .bounds import check_growth
from .json_tensors import numbers_of, unnested
from .raw import BF16, BYTES, DTYPES
from .steps import COPIED_BYTES, OBJECTS, READ_BYTES, Steps

# Shorter bodies are parsed at once: 5 ms at worst, mostly brackets.
SMALL_BODY_BYTES = 32 * 1024
# A shorter list of numbers stays where it is.
LONG_ROWS_BYTES = 16 * 1024
# Two milliseconds, however short they are.
ROWS_IN_A_STEP = 256
# JSON values that describe a tensor, beside its data.
VALUES_OF_A_TENSOR = 16
# Stands for a list of numbers; nobody can send it.
MARK = f"rows-{secrets.token_hex(16)}-"
# To a string's end, or to that of the piece. Possessive: nothing is looked at twice.
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_AROUND_ROWS = b",[] \t\r\n"


class Rows:
    """A list of numbers, nested or not, that is still text."""

    __slots__ = ("_begin", "_body", "_end")

    def __init__(self, body: bytes, begin: int, end: int):
        """
        Args:
            begin: the place of the outermost `[` in `body`.
            end: the place behind its `]`.
        """
        self._body, self._begin, self._end = body, begin, end

    def numbers(self, name: str, datatype: str, limits: LimitSettings) -> Steps[np.ndarray]:
        """The array that it is, in the shape in which it is nested.

        Args:
            name: the input's, for errors.

        Raises:
            BadRequestError: it is no list of numbers of this datatype, or its rows are ragged.
            TooLargeError: it has more rows than `limits.elements`, or takes too much memory.
        """
        if datatype == BYTES:
            raise BadRequestError(f"Input '{name}' is BYTES, so its data must be strings.")
        if datatype == BF16:
            raise BadRequestError(
                f"Input '{name}' is BF16, which JSON has not; send its bytes, as a binary tensor "
                "or as raw_input_contents."
            )
        if datatype not in DTYPES:
            raise BadRequestError(f"Input '{name}' has the unknown datatype '{datatype[:30]}'.")
        body, end = self._body, self._end
        most = 1
        for at in range(self._begin, end, COPIED_BYTES):
            most += body.count(b",", at, min(at + COPIED_BYTES, end))
            yield
        check_growth(name, datatype, most, len(body))
        found = np.empty(most, DTYPES[datatype])
        filled = 0
        lengths: list[int] = []
        # The nest alone: an empty string stands for each row of numbers.
        nest: list[bytes] = []
        at = yielded_at = self._begin
        for around, begin, close in self._innermost(name, limits):
            nest += (around, b'""')
            row_began = filled
            for piece in _pieces(name, body, begin, close):
                numbers = _numbers(name, datatype, piece)
                if not len(numbers) and close - begin > READ_BYTES:
                    raise BadRequestError("The request body is not JSON: a number is missing.")
                with np.errstate(over="ignore"):  # 1e300 is infinite as FP32
                    found[filled : filled + len(numbers)] = numbers
                filled += len(numbers)
                if close - begin > READ_BYTES:
                    yield
            lengths.append(filled - row_began)
            at = close + 1
            if at - yielded_at >= READ_BYTES or not len(lengths) % ROWS_IN_A_STEP:
                yielded_at = at
                yield
        yield
        sizes = _sizes(name, b"".join([*nest, body[at:end]]))
        if len(set(lengths)) > 1:
            raise _ragged(name)
        return found[:filled].reshape([*sizes, lengths[0]])

    def _innermost(self, name: str, limits: LimitSettings) -> Iterator[tuple[bytes, int, int]]:
        """Each innermost row: what is between it and the one before, where it begins and ends."""
        body, at, end = self._body, self._begin, self._end
        opened = 0
        while (outer := body.find(b"[", at, end)) >= 0:
            close = body.find(b"]", outer, end)
            begin = body.rfind(b"[", outer, close) + 1
            if begin - at > LONG_ROWS_BYTES:
                raise _ragged(name)
            around = body[at : begin - 1]
            if around.strip(_AROUND_ROWS):
                raise _ragged(name)
            opened += 1 + around.count(b"[")
            if opened > limits.elements:
                raise TooLargeError(
                    f"Input '{name}' has more than {limits.elements} rows; send its data flat, or "
                    "as raw bytes."
                )
            yield around, begin, close
            at = close + 1


def cut(body: bytes, limits: LimitSettings) -> Steps[tuple[bytes, dict[str, Rows]]]:
    """A body's JSON without its long rows of numbers, and these by their marks.

    Raises:
        TooLargeError: what is left is longer than `limits.text_bytes`, or has more values than
            `limits.elements` and what describes as many tensors as may be.
    """
    most = limits.elements + VALUES_OF_A_TENSOR * limits.inputs
    kept: list[bytes] = []
    found: dict[str, Rows] = {}
    at = begin = left_out = values = strings = 0
    while at < len(body):
        quote = body.find(b'"', at)
        end = quote if quote >= 0 else len(body)
        if end - at >= LONG_ROWS_BYTES:
            yield
            if (rows := (yield from _rows(body, at, end))) is not None:
                mark = f"{MARK}{len(found)}"
                found[mark] = Rows(body, *rows)
                values += _values(body, at, rows[0])
                kept += (body[begin : rows[0]], b'"%b"' % mark.encode())
                left_out += rows[1] - rows[0]
                at = begin = rows[1]
        while end - at > COPIED_BYTES and end - left_out <= limits.text_bytes:
            values += _values(body, at, at + COPIED_BYTES)
            at += COPIED_BYTES
            yield
        _check_text(limits, end - left_out)
        values += _values(body, at, end)
        if max(values, strings // 2) > most:
            raise TooLargeError(
                f"The request's JSON has more than {most} values beside rows of numbers; send "
                "large tensors as binary data, or several requests."
            )
        at = end + 1
        if quote < 0:
            break
        # The string's end.
        while (stop := _string_end(body, at)) - at >= READ_BYTES - 1:
            at = stop
            _check_text(limits, at - left_out)
            yield
        at = stop + 1
        strings += 1
        if not strings % OBJECTS:
            yield
    kept.append(body[begin:])
    return b"".join(kept), found


def _rows(body: bytes, begin: int, end: int) -> Steps[tuple[int, int] | None]:
    """Where the list is that fills a long stretch without any string; None where none does."""
    first = body.find(b"[", begin, end)
    if first < 0:
        return None
    brace = body.find(b"}", first, end)
    yield
    last = body.rfind(b"]", first, end if brace < 0 else brace)
    yield
    if last - first < LONG_ROWS_BYTES or body.find(b"{", begin, last) >= 0:
        return None
    return first, last + 1


def _values(body: bytes, begin: int, end: int) -> int:
    """How many values begin in a stretch without any string, about."""
    return (
        body.count(b",", begin, end) + body.count(b"[", begin, end) + body.count(b"{", begin, end)
    )


def _check_text(limits: LimitSettings, size: int) -> None:
    if size > limits.text_bytes:
        raise TooLargeError(
            f"The request's JSON has more than {limits.text_bytes} bytes beside rows of numbers; "
            "send large tensors as binary data."
        )


def _string_end(body: bytes, at: int) -> int:
    matched = _STRING.match(body, at, at + READ_BYTES)
    return matched.end() if matched else at


def _pieces(name: str, body: bytes, begin: int, end: int) -> Iterator[bytes]:
    """A row's text in pieces that end before a comma."""
    while end - begin > READ_BYTES:
        comma = body.rfind(b",", begin, begin + READ_BYTES)
        if comma < 0:
            raise BadRequestError(
                f"Input '{name}' has a number of more than {READ_BYTES} characters."
            )
        yield body[begin:comma]
        begin = comma + 1
    yield body[begin:end]


def _numbers(name: str, datatype: str, piece: bytes) -> np.ndarray:
    try:
        elements: list[Any] = orjson.loads(b"[%b]" % piece)
    except orjson.JSONDecodeError as error:
        raise not_json(error) from error
    return numbers_of(name, datatype, elements)


def _sizes(name: str, nest: bytes) -> list[int]:
    """The sizes of a nest around its rows."""
    try:
        parsed = orjson.loads(nest)
    except orjson.JSONDecodeError as error:
        raise not_json(error) from error
    if parsed == "":
        return []
    _, kinds, sizes = unnested(name, parsed)
    if kinds != {str}:  # an empty list beside rows
        raise _ragged(name)
    return sizes


def _ragged(name: str) -> BadRequestError:
    return BadRequestError(f"The rows of input '{name}' are not all of one length.")


def not_json(error: orjson.JSONDecodeError) -> BadRequestError:
    """The error for a body of which a part is not JSON; the place would be one in that part."""
    return BadRequestError(f"The request body is not JSON: {error.msg}.")


def is_mark(value: Any) -> bool:
    """Whether a parsed value stands for rows."""
    return type(value) is str and value.startswith(MARK)
