"""Connections that are closed later than their answers end."""

from collections.abc import Callable
from typing import Any


class Lingering:
    """The transport of an answer after which more may come that nobody wants: it closes later."""

    def __init__(self, transport: Any, linger: Callable[[], None]):
        self._transport = transport
        self.close = linger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
