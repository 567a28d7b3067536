"""Who this client is: the key or the token that it sends with every call."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import SourceError


@dataclass(frozen=True)
class Credentials:
    """An API key, a bearer token (a key too, or a JSON web token), both, or none.

    Raises SourceError when one of them cannot be sent in a header. Neither shows in a repr.
    """

    api_key: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, secret in (("API key", self.api_key), ("bearer token", self.bearer)):
            # Not quoted: an error ends up in logs.
            if secret is not None and not (secret.isascii() and secret.isprintable()):
                raise SourceError(f"the {name} holds a character that cannot be sent in a header")
            if secret is not None and (not secret or " " in secret):
                raise SourceError(f"the {name} is empty or holds a space")

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a gRPC call."""
        return tuple(self.headers().items())

    def headers(self) -> dict[str, str]:
        """The headers of an HTTP request."""
        found = {}
        if self.api_key is not None:
            found["x-api-key"] = self.api_key
        if self.bearer is not None:
            found["authorization"] = f"Bearer {self.bearer}"
        return found


ANONYMOUS = Credentials()
