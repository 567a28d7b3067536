"""How large one response may be on its wire: past it, its request fails, and nothing else does.

gRPC has such a bound of its own, but ends the whole call there, as if its client had gone.
"""

from mlserver.settings import Settings

from ..errors import TooLargeError
from ..settings import LimitSettings


class ResponseBound:
    """A bound and the setting that it comes from."""

    __slots__ = ("_setting", "bytes")

    def __init__(self, bytes: int, setting: str = "limits.request_bytes"):
        self.bytes = bytes
        self._setting = setting

    @classmethod
    def of_grpc(cls, settings: Settings, limits: LimitSettings) -> "ResponseBound":
        """The bound of gRPC's messages: MLServer's own setting, where that is set."""
        if settings.grpc_max_message_length is not None:
            return cls(settings.grpc_max_message_length, "grpc_max_message_length")
        return cls(limits.request_bytes)

    def check(self, size: int) -> None:
        """Let a response of so many bytes pass.

        Raises:
            TooLargeError: it is larger.
        """
        if size > self.bytes:
            raise TooLargeError(
                f"A response to this request has {size} bytes, and at most {self.bytes} "
                f"({self._setting}) leave as one; ask for less at once."
            )
