"""What is set of one wire alone: gRPC's connections, OpenAI's routes, shared memory."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from .values import Block, Count, MemoryBytes, Seconds


class GrpcSettings(Block):
    """Connections of gRPC, on both ports."""

    server: Literal["grpcio", "http2"] = Field(
        default="http2",
        description="What serves them: `http2`, a server of this project, or `grpcio`, gRPC's own: "
        "the first takes less CPU for each response (docs/operations.md).",
    )
    max_connection_age_seconds: Seconds | None = Field(
        default=None,
        description="Age at which a connection takes no new calls and its client opens another, so "
        "that long-lived channels spread over replicas; its running calls may go on for "
        "`drain_seconds`. null: never.",
    )


class OpenAISettings(Block):
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


class SharedMemorySettings(Block):
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
    bytes_per_caller: MemoryBytes = Field(
        default=1024**3, description="What they may have, in all."
    )
