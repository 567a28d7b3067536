"""The "streaming" block of settings.json, validated.

MLServer ignores blocks that it does not know, so the file is read once more, here, at the door.
docs/settings.md is generated from these classes by settings_reference.py.
"""

import json
import os
import re
import sys
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SETTINGS_FILE = "settings.json"
BLOCK = "streaming"
PREFIX = "STREAMING_"
NESTED = "__"
MEMCACHED_PORT = 11211
MIN_SECRET_CHARACTERS = 16
# What Kubernetes tells a container of a Service whose name begins with `streaming`.
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$")


def _no_boolean(value: object) -> object:
    # pydantic would read true as 1.
    if isinstance(value, bool):
        raise PydanticCustomError("number", "Input should be a number")
    return value


Port = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1, le=65535)]
Seconds = Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=86_400)]
SecondsOrZero = Annotated[float, BeforeValidator(_no_boolean), Field(ge=0, le=86_400)]
Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=1_000_000)]
Bytes = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1024, le=2**31 - 1)]


def _long_secret(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and len(secret.get_secret_value()) < MIN_SECRET_CHARACTERS:
        raise ValueError(f"a secret has {MIN_SECRET_CHARACTERS} characters or more")
    return secret


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JwtSettings(_Block):
    """JSON web tokens as bearer tokens; set together with a key set."""

    issuer: str = Field(description="Whose tokens are taken: their `iss`.")
    audience: str = Field(description="Whom the tokens must be for: their `aud`.")
    jwks: str = Field(description="The issuer's key set: a file, or an http(s) URL.")
    algorithms: tuple[str, ...] = Field(
        default=("RS256", "ES256"),
        description="Signature algorithms that are taken; asymmetric ones only.",
    )
    leeway_seconds: Annotated[float, BeforeValidator(_no_boolean), Field(ge=0, le=600)] = Field(
        default=30, description="How far the issuer's clock may be off."
    )
    roles_claim: str = Field(default="roles", description="The claim that lists a caller's roles.")
    models_claim: str = Field(
        default="models",
        description="The claim that lists the models a caller may use; absent is all.",
    )

    @model_validator(mode="after")
    def _asymmetric(self) -> "JwtSettings":
        allowed = {f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)}
        for algorithm in self.algorithms:
            if algorithm not in {*allowed, "EdDSA"}:
                raise ValueError(f"algorithm '{algorithm}' is not an asymmetric signature")
        return self


class AuthSettings(_Block):
    """Who may call. Without keys and tokens, everybody who reaches the port."""

    keys_file: str | None = Field(
        default=None,
        description="File of API keys, made by `mlserver-streaming keys`.",
    )
    protect_metrics: bool = Field(default=False, description="Whether the metrics need a key too.")
    jwt: JwtSettings | None = Field(default=None, description="JSON web tokens; null takes none.")

    @model_validator(mode="after")
    def _protectable(self) -> "AuthSettings":
        if self.protect_metrics and self.keys_file is None and self.jwt is None:
            raise ValueError("protect_metrics needs keys_file or jwt")
        return self


class TlsSettings(_Block):
    """TLS on all ports: REST, gRPC, Triton's dialect, metrics. New files are picked up."""

    certificate: str | None = Field(default=None, description="Certificate chain, a PEM file.")
    key: str | None = Field(default=None, description="The certificate's private key, a PEM file.")
    client_ca: str | None = Field(
        default=None, description="CA of the clients' certificates, a PEM file; set, they need one."
    )

    @model_validator(mode="after")
    def _whole(self) -> "TlsSettings":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs a certificate and a key")
        return self


class LimitSettings(_Block):
    """Bounds; past one a request is refused, 429 or 413 / RESOURCE_EXHAUSTED, before any work."""

    streams: Count = Field(default=256, description="Streams and calls at once, in all.")
    streams_per_model: Count | None = Field(default=None, description="The same for each model.")
    streams_per_key: Count | None = Field(default=None, description="The same for each key.")
    waiting: CountOrZero = Field(
        default=64, description="Requests that may wait for one of these to end."
    )
    request_bytes: Bytes = Field(
        default=64 * 1024 * 1024,
        description="Size of a request's body or message, and of one response. gRPC copies a "
        "message whole, about 2 ms for each MiB, and everybody waits.",
    )
    inputs: Count = Field(
        default=1024,
        description="Inputs of a request, outputs that it asks for, and parameters in one place.",
    )
    elements: Count = Field(
        default=65_536,
        description="What is read one by one of a request: elements of its BYTES tensors, and JSON "
        "values beside rows of numbers.",
    )
    text_bytes: Bytes = Field(
        default=16 * 1024 * 1024,
        description="A request's JSON beside rows of numbers, or a message beside its tensors.",
    )
    collected_responses: Count = Field(
        default=65_536,
        description="Responses of a stream that a unary call gets as one.",
    )
    collected_bytes: Bytes = Field(
        default=16 * 1024 * 1024, description="What they may have, in all."
    )
    buffered_responses: Count = Field(
        default=16,
        description="Responses of one stream that may wait for a slow reader: one for each of its "
        "requests in work.",
    )
    stream_idle_seconds: Seconds = Field(
        default=300, description="Silence, either way, after which a stream is ended."
    )
    stream_seconds: Seconds | None = Field(
        default=None, description="How long a stream may last at all."
    )
    sequences: Count = Field(default=1024, description="Live sequences of each model.")
    sequence_idle_seconds: Seconds = Field(
        default=60, description="Silence after which a sequence is given up."
    )


class WorkerSettings(_Block):
    """Models in worker processes (MLServer's `parallel_workers`)."""

    heartbeat_seconds: Seconds | None = Field(
        default=60,
        description="How long a worker may show no sign of life (stopped, or held by C code that "
        "keeps Python's lock) before another takes its place; null for ever. Not counted while it "
        "loads a model.",
    )
    load_seconds: Seconds | None = Field(
        default=600, description="How long a worker may take to load a model; null for ever."
    )


class CacheSettings(_Block):
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
    seconds: Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=30 * 86_400)] = Field(
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
    timeout_seconds: Annotated[float, BeforeValidator(_no_boolean), Field(ge=0.001, le=1)] = Field(
        default=0.005,
        description="How long a request waits for an answer of memcached.",
    )
    retry_seconds: Seconds = Field(
        default=5, description="How long a memcached server that does not answer is left alone."
    )
    value_bytes: Annotated[
        int, BeforeValidator(_no_boolean), Field(ge=16 * 1024, le=128 * 1024 * 1024)
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
        return _long_secret(secret)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The memcached servers' hosts and ports."""
        return [address(server) for server in self.servers]


class GrpcSettings(_Block):
    """Connections of gRPC, on both ports."""

    server: Literal["grpcio", "http2"] = Field(
        default="grpcio",
        description="What serves them: `grpcio`, gRPC's own server, or `http2`, ours: "
        "it takes less CPU for each response (docs/operations.md).",
    )
    max_connection_age_seconds: Seconds | None = Field(
        default=None,
        description="Age at which a connection takes no new calls and its client opens another, so "
        "that long-lived channels spread over replicas; its running calls may go on for "
        "`drain_seconds`. null: never.",
    )


class OpenAISettings(_Block):
    """OpenAI's routes."""

    prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$")] | None = Field(
        default="/v1",
        description="Before the paths of OpenAI's routes (KServe's is `/openai/v1`); null: none.",
    )

    @field_validator("prefix")
    @classmethod
    def _is_free(cls, prefix: str | None) -> str | None:
        if prefix is not None and prefix.split("/")[1] == "v2":
            raise ValueError("/v2 is the inference protocol's own")
        return prefix


class SharedMemorySettings(_Block):
    """Tensors through shared memory, for clients on the service's own host."""

    enabled: bool = Field(
        default=False,
        description="Whether files under `/dev/shm` may be registered and named in requests. Who "
        "may call may then use every file there that the service's user may.",
    )
    regions_per_caller: Count = Field(
        default=64,
        description="Regions that a caller may have registered; without keys all are one.",
    )
    bytes_per_caller: Annotated[int, BeforeValidator(_no_boolean), Field(ge=1024, le=2**40)] = (
        Field(default=1024**3, description="What they may have, in all.")
    )


class StoreSettings(_Block):
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
    timeout_seconds: Annotated[float, BeforeValidator(_no_boolean), Field(ge=0.01, le=10)] = Field(
        default=0.5, description="How long to wait for an answer of the server."
    )
    retry_seconds: Seconds = Field(
        default=2, description="How long a server that does not answer is left alone."
    )
    lease_seconds: Annotated[float, BeforeValidator(_no_boolean), Field(ge=0.5, le=60)] = Field(
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
        return _long_secret(secret)

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


class ResumeSettings(_Block):
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


def address(server: str) -> tuple[str, int]:
    """Host and port of "host:port", "[host]:port" or "host"; port 0 where it is no number."""
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        host, port = server, str(MEMCACHED_PORT)
    return host.strip("[]"), int(port) if port.isdecimal() else 0


class StreamingSettings(BaseSettings):
    """How streams are served. An environment variable wins over the file; its text `null` is the
    file's null."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
        env_parse_none_str="null",
        extra="forbid",
        frozen=True,
    )

    triton_port: Port | None = Field(
        default=None, description="Port of the Triton gRPC dialect; null closes it."
    )
    keepalive_seconds: Seconds = Field(
        default=15, description="Silence after which an SSE stream gets a comment line."
    )
    first_response_grace_seconds: Seconds = Field(
        default=5,
        description="How long an SSE stream waits for its first response, so that an error can "
        "still be a real status, before it sends its headers.",
    )
    notice_seconds: SecondsOrZero = Field(
        default=0,
        description="How long after SIGTERM new calls are still taken while readiness says no, so "
        "that a balancer sends them elsewhere before they are refused.",
    )
    drain_seconds: SecondsOrZero = Field(
        default=30, description="How long running streams may go on after SIGTERM."
    )
    on_load_error: Literal["stop", "serve_rest"] = Field(
        default="stop",
        description="Where a model cannot be loaded at the start: `stop` the service, or "
        "`serve_rest`, the others.",
    )
    liveness_seconds: Seconds = Field(
        default=10,
        description="How long the service may be stuck before `/v2/health/live` on the metrics "
        "port says 503; a busy one answers 200.",
    )
    auth: AuthSettings = Field(default=AuthSettings(), description="Who may call.")
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS on all ports.")
    limits: LimitSettings = Field(default=LimitSettings(), description="Bounds.")
    workers: WorkerSettings = Field(default=WorkerSettings(), description="Worker processes.")
    cache: CacheSettings = Field(default=CacheSettings(), description="Streams remembered.")
    grpc: GrpcSettings = Field(default=GrpcSettings(), description="Connections of gRPC.")
    openai: OpenAISettings = Field(default=OpenAISettings(), description="OpenAI's routes.")
    resume: ResumeSettings = Field(
        default=ResumeSettings(), description="Streams that outlive their connections."
    )
    shared_memory: SharedMemorySettings = Field(
        default=SharedMemorySettings(), description="Tensors through shared memory."
    )
    playground: bool | None = Field(
        default=None,
        description="Whether the page `/playground` is there; null is only where the service "
        "listens on this machine alone (127.0.0.1).",
    )

    @model_validator(mode="after")
    def _sealed(self) -> "StreamingSettings":
        keyed = self.auth.keys_file is not None or self.auth.jwt is not None
        secret = self.cache.secret or self.cache.secret_file
        if self.cache.backend == "memcached" and keyed and secret is None:
            raise ValueError(
                "with keys or tokens, answers in memcached must be sealed: set cache.secret or "
                "cache.secret_file"
            )
        store = self.resume.store
        if store.url is not None and keyed and (store.secret or store.secret_file) is None:
            raise ValueError(
                "with keys or tokens, streams in the store must be sealed: set resume.store.secret "
                "or resume.store.secret_file"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment first: what a container sets must win over the file in its image.
        return env_settings, init_settings

    @classmethod
    def read(cls, folder: str | None) -> "StreamingSettings":
        """The settings of the service that is started in `folder`.

        Raises:
            SystemExit: a value is unknown or impossible; its one line names the field.
        """
        _refuse_unknown_variables()
        block = settings_file(folder).get(BLOCK, {})
        if not isinstance(block, dict):
            sys.exit(f'"{BLOCK}" in {SETTINGS_FILE} must be an object, not {block!r}.')
        try:
            return cls(**block)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join([BLOCK, *map(str, first["loc"])])
            sys.exit(f'"{field}" in {SETTINGS_FILE} or its environment variable: {first["msg"]}.')


def settings_file(folder: str | None) -> dict[str, Any]:
    """What the settings file in a folder says, MLServer's part too; {} where there is none.

    Raises:
        SystemExit: it cannot be read, or is no JSON object.
    """
    path = os.path.join(folder or ".", SETTINGS_FILE)
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}.")
    except (ValueError, RecursionError) as error:
        sys.exit(f"{path} is no JSON: {error}.")
    if not isinstance(found, dict):
        sys.exit(f"{path} must hold a JSON object.")
    return found


def _refuse_unknown_variables() -> None:
    """One underscore for two, and a service that should have keys would start without.

    What stands behind a block's name and two underscores is looked at with the block.
    """
    known = {name.upper() for name in StreamingSettings.model_fields}
    for variable in sorted(os.environ):
        name = variable.upper()
        if not name.startswith(PREFIX) or KUBERNETES.search(name):
            continue
        if name[len(PREFIX) :].partition(NESTED)[0] not in known:
            sys.exit(
                f"No setting belongs to the environment variable {variable}; docs/settings.md has "
                "them all (a block's settings stand behind two underscores)."
            )
