"""What a service does at its start about models that cannot be served."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

from ..discovery import PassedOver
from ..load_failure import LoadFailure


class Start:
    """Ends the service, with one line, or goes on without them (`streaming.on_load_error`)."""

    def __init__(self, stops: bool, is_stopping: Callable[[], bool] = lambda: False):
        """
        Args:
            stops: whether the service is not to be without them.
            is_stopping: whether it is being stopped anyhow, and its workers with it.
        """
        self._stops = stops
        self._is_stopping = is_stopping

    def passed_over(self, faults: Sequence[PassedOver]) -> None:
        """Models that could not even be read. The log has them already.

        Raises:
            SystemExit
        """
        if self._stops and faults:
            _give_up(str(faults[0]))

    def failed(self, failure: LoadFailure) -> None:
        """A model could not be loaded.

        Raises:
            SystemExit
        """
        if self._is_stopping():
            return
        # One line says it then; who wants to know more sets `debug`.
        failure.log(logging.DEBUG if self._stops else logging.ERROR)
        if self._stops:
            _give_up(failure.sentence)


def _give_up(why: str) -> None:
    """End the service: nothing is served yet, and nobody waits for it to drain."""
    # Whatever is cut off by it, uvicorn say, would have a page to say about that.
    logging.disable()
    sys.exit(why)
