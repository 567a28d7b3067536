"""A client that has closed its sending side: it reads on, or it is gone.

Both look the same, a FIN, until something is sent: who is gone answers that with a reset (RFC 9293,
3.10.7). So it is sent what means nothing, and looked at whether it is still there.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# An answer that is ready sooner comes without a question; a hang-up is noticed after two of these.
CHECK_SECONDS = 0.25
# Later ones need not be noticed as soon: who is asked again is there, or was.
ASK_SECONDS = 15
# A client must take any number of interim answers, asked for or not (RFC 9110, 15.2).
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
# The size of a chunk may begin with zeros (RFC 9112, 7.1): this is the first digit of the next.
DIGIT = b"0"


class HalfClosed:
    """Gives a connection up once its client turns out to be gone."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        answering: Callable[[], RequestResponseCycle | None],
    ):
        """
        Args:
            answering: which answer is under way; pipelined ones have their turns.
        """
        self._transport = transport
        self._loop = loop
        self._answering = answering
        self._asked: float | None = None
        self._timer = loop.call_later(CHECK_SECONDS, self._check)

    @staticmethod
    def can_be_asked(cycle: RequestResponseCycle) -> bool:
        """HTTP/1.0 has nothing to ask with, and TLS no half-closed connections (in Python)."""
        return cycle.scope["http_version"] != "1.0" and cycle.scope["scheme"] == "http"

    def stop(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        if not self._is_connected():
            self._transport.abort()
            return
        self._ask()
        self._timer = self._loop.call_later(CHECK_SECONDS, self._check)

    def _is_connected(self) -> bool:
        connection: Any = self._transport.get_extra_info("socket")
        # Neither loop looks at a socket that it has read to its end.
        return bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)

    def _ask(self) -> None:
        cycle = self._answering()
        is_first, now = self._asked is None, self._loop.time()
        if cycle is None or not (self._asked is None or now - self._asked >= ASK_SECONDS):
            return
        self._asked = now
        if not cycle.response_started:
            self._transport.write(INTERIM)
        elif cycle.chunked_encoding and is_first:
            # Once: a silent stream has comments of its own, and other answers are never silent.
            self._transport.write(DIGIT)
