"""Why a model could not be loaded: a line for the log, a line for callers, and the traceback.

It goes from a worker process to the service as it is.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from dataclasses import dataclass

from mlserver.errors import MLServerError
from mlserver.logging import logger
from mlserver.settings import ModelSettings

OURS = os.path.dirname(os.path.abspath(__file__))
# Some errors print a whole table of tensors; their beginning says what it is about.
MAX_CHARACTERS = 400
# A path of the machine, in quotes (it may have blanks then) or not; but no URL's.
QUOTED_PATH = re.compile(r"""(['"])(?:file://)?/[^'"\n]*?([^'"/\n]+)/?\1""")
BARE_PATH = re.compile(
    r"""(?:\bfile://|(?<![\w.:/~'"-]))/(?:[^\s/'":;,()<>\[\]]+/)*([^\s/'":;,()<>\[\]]+)/?"""
)


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """
    Attributes:
        model: the model's name.
        where: the file that is to blame, relative to the served root, with a line where it is
            code; "" where it is not known.
        error: what Python says last of it, on one line.
        fit: the same for callers: paths of the machine are cut down to the file's name.
        status: an HTTP status.
        trace: the traceback.
    """

    model: str
    where: str
    error: str
    fit: str
    status: int
    trace: str

    @classmethod
    def of(cls, error: BaseException, settings: ModelSettings, root: str) -> LoadFailure:
        """
        Args:
            root: the served root.
        """
        root = os.path.abspath(root)
        said = _last_line(error)
        return cls(
            settings.name,
            _blamed(error, root) or _inside(settings._source or "", root) or "",
            said,
            without_paths(said, root),
            error.status_code if isinstance(error, MLServerError) else 500,
            "".join(traceback.format_exception(error)),
        )

    @property
    def sentence(self) -> str:
        """All of it on one line, for the log."""
        return f"Model '{self.model}' cannot be loaded: {self._at}{self.error}"

    @property
    def reason(self) -> str:
        """For the repository index."""
        return f"{self._at}{self.fit}"

    def log(self, level: int = logging.ERROR) -> None:
        """Say all of it."""
        logger.log(level, "%s\n%s", self.sentence, self.trace.rstrip())

    @property
    def _at(self) -> str:
        return f"{self.where}: " if self.where else ""


class LoadError(MLServerError):
    """A model cannot be loaded. Its text is for who asked for that."""

    def __init__(self, failure: LoadFailure):
        super().__init__(
            f"Model '{failure.model}' cannot be loaded: {failure.reason}", failure.status
        )
        self.failure = failure


def without_paths(text: str, root: str) -> str:
    """A text without paths of this machine: those below the root become relative to it, of others
    the last part is left."""
    text = text.replace(root + os.sep, "")
    text = QUOTED_PATH.sub(r"\1\2\1", text)
    return BARE_PATH.sub(r"\1", text)


def _last_line(error: BaseException) -> str:
    # An MLServerError's text is meant to be read as it is.
    lines = (
        [str(error)] if isinstance(error, MLServerError) else traceback.format_exception_only(error)
    )
    said = " ".join(lines[-1].split())
    return said if len(said) <= MAX_CHARACTERS else f"{said[:MAX_CHARACTERS]}..."


def _blamed(error: BaseException, root: str) -> str | None:
    """The innermost line of the served root's own code that the error came through."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    for file, line in reversed(places):
        if (inside := _inside(file, root)) is not None:
            return f"{inside}, line {line}"
    return None


def _inside(file: str, root: str) -> str | None:
    """A file of the served root, relative to it; None for others, installed ones and ours."""
    path = os.path.abspath(file)
    if not path.startswith(root.rstrip(os.sep) + os.sep) or path.startswith(OURS + os.sep):
        return None
    inside = os.path.relpath(path, root)
    return None if "site-packages" in inside.split(os.sep) else inside
