"""Where streams are remembered, how large and how long."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from .values import MIN_SECRET_CHARACTERS, Block, Bytes, Seconds, long_secret, no_boolean

MEMCACHED_PORT = 11211


class CacheSettings(Block):
    """Streams remembered, for models whose own settings say `"cache_enabled": true`."""

    backend: Literal["memory", "memcached"] = Field(
        default="memory",
        description="Where streams are remembered: in each instance's `memory`, or in `memcached` "
        "for all instances.",
    )
    bytes: Bytes = Field(
        default=64 * 1024 * 1024,
        description="What `memory` may hold in all; the least recently used streams go.",
    )
    running_bytes: Bytes = Field(
        default=256 * 1024 * 1024,
        description="What streams may hold in all while they are being answered, for those who "
        "join and to be remembered; past it, they are answered only.",
    )
    entry_bytes: Bytes = Field(
        default=8 * 1024 * 1024, description="The longest stream that is remembered."
    )
    seconds: Annotated[float, BeforeValidator(no_boolean), Field(gt=0, le=30 * 86_400)] = Field(
        default=3600,
        description="How long a stream is remembered; in memcached it is rounded up, and up to a "
        "second longer.",
    )
    per_key: bool = Field(
        default=True, description="Whether each key's or token's answers are its own only."
    )
    servers: tuple[str, ...] = Field(
        default=(), description='The memcached servers: "host:port" or "host" (port 11211).'
    )
    timeout_seconds: Annotated[float, BeforeValidator(no_boolean), Field(ge=0.001, le=1)] = Field(
        default=0.005,
        description="How long a request waits for an answer of memcached.",
    )
    retry_seconds: Seconds = Field(
        default=5, description="How long a memcached server that does not answer is left alone."
    )
    value_bytes: Annotated[
        int, BeforeValidator(no_boolean), Field(ge=16 * 1024, le=128 * 1024 * 1024)
    ] = Field(
        default=1_000_000,
        description="The largest value that the memcached servers take: a little less than their "
        "item limit (`-I`, 1 MiB).",
    )
    split: bool = Field(
        default=True,
        description="Whether a stream past `value_bytes` is split over several values; it is not "
        "remembered otherwise.",
    )
    compress_bytes: Bytes | None = Field(
        default=4096,
        description="From which size on a stream is compressed for memcached; null for never.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description="What seals answers in memcached, so that nobody else can plant any: "
        f"{MIN_SECRET_CHARACTERS} characters or more. With keys or tokens there must be one.",
    )
    secret_file: str | None = Field(
        default=None, description="The same in a file, read once at the start."
    )

    @field_validator("servers")
    @classmethod
    def _are_addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            host, port = address(server)
            if not host or not 0 < port < 65536 or any(each.isspace() for each in host):
                raise ValueError(f"'{server}' is not host:port")
        return servers

    @model_validator(mode="after")
    def _has_servers(self) -> "CacheSettings":
        if self.backend == "memcached" and not self.servers:
            raise ValueError("the backend memcached needs servers")
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("secret and secret_file are two places for one secret; set one")
        return self

    @field_validator("secret")
    @classmethod
    def _is_long(cls, secret: SecretStr | None) -> SecretStr | None:
        return long_secret(secret)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The memcached servers' hosts and ports."""
        return [address(server) for server in self.servers]


def address(server: str) -> tuple[str, int]:
    """Host and port of "host:port", "[host]:port" or "host"; port 0 where it is no number."""
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        host, port = server, str(MEMCACHED_PORT)
    return host.strip("[]"), int(port) if port.isdecimal() else 0
