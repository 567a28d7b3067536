"""Where a client is in a stream that outlives its connection, so that it can come back to it."""

from __future__ import annotations

import re

from .errors import ProtocolError

# `<stream>.<n>`: the id of the stream's n-th response, from 1.
_ID = re.compile(r"([A-Za-z0-9_-]{16,128})\.([0-9]{1,15})")
# What asks for such a stream, and what a client comes back with: over HTTP, over gRPC.
RESUMABLE = "resumable"
LAST_EVENT_ID, RESUME_METADATA = "last-event-id", "x-resume"
RESUME_ID = "resume_id"
# How often one comes back in vain, over some 20 s: a service may have to start again.
TRIES = 8


class StreamPlace:
    """The last response that came of one stream.

    Attributes:
        stream: the stream's id; None where it has none, or nothing of it came yet.
        times: how often the client came back.
    """

    def __init__(self) -> None:
        self.stream: str | None = None
        self.times = 0
        self._heard = 0

    @property
    def id(self) -> str:
        """What the client comes back with, once `stream` is known."""
        return f"{self.stream}.{self._heard}"

    def reached(self, response_id: str) -> None:
        """A response came. Ids of another form are of streams that end with their connection.

        Raises ProtocolError when it is not the next one.
        """
        if (found := _ID.fullmatch(response_id)) is None:
            return
        stream, number = found[1], int(found[2])
        # A replica that goes on with a lost one's stream may give it another id, not other numbers.
        if number != self._heard + 1:
            raise ProtocolError(f"response {number} of the stream came after {self._heard}")
        self.stream, self._heard = stream, number

    def came_back(self) -> None:
        """Another connection goes on with it."""
        self.times += 1

    def forget(self) -> None:
        """It has ended, or is lost: what comes now is another stream."""
        self.stream, self._heard = None, 0

    def summary(self) -> str:
        """One line about it; empty where the first connection did."""
        if not self.times:
            return ""
        often = "once" if self.times == 1 else f"{self.times} times"
        return f"The connection was lost; came back to the stream {often}."
