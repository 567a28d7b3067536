"""The block itself."""

import sys
from typing import Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .access import AuthSettings, TlsSettings
from .cache import CacheSettings
from .environment import NESTED, PREFIX, refuse_unknown_variables
from .file import SETTINGS_FILE, settings_file
from .limits import LimitSettings
from .resume import ResumeSettings
from .values import Port, Seconds, SecondsOrZero
from .wires import GrpcSettings, OpenAISettings, SharedMemorySettings
from .workers import WorkerSettings

BLOCK = "streaming"


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
        refuse_unknown_variables(cls.model_fields)
        block = settings_file(folder).get(BLOCK, {})
        if not isinstance(block, dict):
            sys.exit(f'"{BLOCK}" in {SETTINGS_FILE} must be an object, not {block!r}.')
        try:
            return cls(**block)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join([BLOCK, *map(str, first["loc"])])
            sys.exit(f'"{field}" in {SETTINGS_FILE} or its environment variable: {first["msg"]}.')
