"""How far a worker may be ahead of whoever takes its responses. Pure."""

from collections import deque

# So many bytes of small responses may be ahead, whatever their number: a word weighs 300 bytes as
# counted here, and waiting for a credit at every sixteenth word would halve the rate.
AHEAD_BYTES = 64 * 1024


class Window:
    """The responses of one stream that were sent and that nobody has taken yet."""

    __slots__ = ("_bytes", "_count", "_sizes")

    def __init__(self, count: int):
        """
        Args:
            count: responses that may be ahead, however large.
        """
        self._count = count
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def sent(self, size: int) -> None:
        """One more, of about so many bytes."""
        self._sizes.append(size)
        self._bytes += size

    def taken(self, count: int) -> None:
        """The oldest were taken."""
        for _ in range(min(count, len(self._sizes))):
            self._bytes -= self._sizes.popleft()

    @property
    def is_full(self) -> bool:
        return len(self._sizes) >= self._count and self._bytes >= AHEAD_BYTES
