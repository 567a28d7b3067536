"""Streams that outlive their connections: how long, how large, and in which store."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from .values import (
    MIN_SECRET_CHARACTERS,
    Block,
    Bytes,
    Count,
    Seconds,
    SecondsOrZero,
    long_secret,
    no_boolean,
)


class StoreSettings(Block):
    """Resumable streams in a Redis or Valkey server, for all instances of the service."""

    url: SecretStr | None = Field(
        default=None,
        description="The server, 7 or newer: `redis://host:port/0`, `rediss://` with TLS, "
        "`unix:///path`; it may hold a password. null: streams are kept in their instance alone.",
    )
    password_file: str | None = Field(
        default=None,
        description="The server's password in a file, read once at the start: for a `url` without "
        "one.",
    )
    timeout_seconds: Annotated[float, BeforeValidator(no_boolean), Field(ge=0.01, le=10)] = Field(
        default=0.5, description="How long to wait for an answer of the server."
    )
    retry_seconds: Seconds = Field(
        default=2, description="How long a server that does not answer is left alone."
    )
    lease_seconds: Annotated[float, BeforeValidator(no_boolean), Field(ge=0.5, le=60)] = Field(
        default=3,
        description="After how long without a sign of life of the instance that answers a stream "
        "another one may take it over.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description="What seals streams in the server, so that nobody else can plant any: "
        f"{MIN_SECRET_CHARACTERS} characters or more. With keys or tokens there must be one.",
    )
    secret_file: str | None = Field(
        default=None, description="The same in a file, read once at the start."
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not re.match(r"(rediss?|valkeys?|unix)://", url.get_secret_value()):
            raise ValueError("a url begins with redis://, rediss:// or unix://")
        return url

    @field_validator("secret")
    @classmethod
    def _is_long(cls, secret: SecretStr | None) -> SecretStr | None:
        return long_secret(secret)

    @model_validator(mode="after")
    def _has_one_secret(self) -> "StoreSettings":
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("secret and secret_file are two places for one secret; set one")
        return self

    @model_validator(mode="after")
    def _has_one_password(self) -> "StoreSettings":
        url = "" if self.url is None else self.url.get_secret_value()
        if self.password_file is not None and urlsplit(url).password is not None:
            raise ValueError("url and password_file are two places for one password; use one")
        return self


class ResumeSettings(Block):
    """Streams that outlive their connections: those whose request, model or service wants it."""

    always: bool = Field(
        default=False,
        description="Whether every stream is resumable, not only those whose request has the "
        "parameter `resumable` or whose model's settings have it among `extra`.",
    )
    seconds_without_reader: Seconds = Field(
        default=60, description="How long a model goes on while nobody reads what it says."
    )
    seconds_kept: SecondsOrZero = Field(
        default=60, description="How long a stream can still be read after its end."
    )
    bytes: Bytes = Field(
        default=8 * 1024 * 1024,
        description="What is kept of one stream. Past it the oldest responses go as they are read; "
        "unread, the model waits.",
    )
    bytes_in_all: Bytes = Field(
        default=256 * 1024 * 1024,
        description="The same of all; streams that have ended go first, the oldest first.",
    )
    streams: Count = Field(
        default=1024,
        description="Streams that a caller may have kept at once; without keys all are one.",
    )
    store: StoreSettings = Field(
        default=StoreSettings(), description="Resumable streams for all instances."
    )
