"""A server as a client knows it: where it is, how the connection is secured, who calls."""

from __future__ import annotations

from dataclasses import dataclass

from .address import is_loopback, join_address
from .credentials import ANONYMOUS, Credentials
from .sequence_header import sequence_headers
from .tls import Tls


@dataclass(frozen=True)
class Server:
    """What every client needs to reach one, over either protocol.

    Attributes:
        tls: how the connection is secured; None is not at all.
        credentials: sent with every call.
    """

    host: str
    port: int
    tls: Tls | None = None
    credentials: Credentials = ANONYMOUS

    @property
    def address(self) -> str:
        return join_address(self.host, self.port)

    @property
    def url(self) -> str:
        """Where its HTTP paths begin."""
        return f"{'http' if self.tls is None else 'https'}://{self.address}"

    @property
    def may_use_proxy(self) -> bool:
        """Whether a proxy that is set in the environment may be asked for it."""
        return not is_loopback(self.host)

    def metadata(self, sequence_id: int | str | None = None) -> tuple[tuple[str, str], ...]:
        """The metadata of a gRPC call, all of whose requests are of this sequence, if any."""
        return (*self.credentials.metadata(), *sequence_headers(sequence_id).items())
