"""What requests and streams may take, in all and each."""

from pydantic import Field, model_validator

from .values import Block, Bytes, Count, CountOrZero, MemoryBytes, Seconds

UNREAD_BYTES = 1024**3


class LimitSettings(Block):
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
    unread_bytes: MemoryBytes | None = Field(
        default=None,
        description="What requests may have, all together and over all wires, until they are "
        "whole: others wait for room, 20 s at most, and are refused then. What is at least twice "
        "`request_bytes`; null: 1 GiB, or that. gRPC's own server (`grpcio`) does not know it.",
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

    @model_validator(mode="after")
    def _have_room_for_the_largest(self) -> "LimitSettings":
        if self.unread_bytes is not None and self.unread_bytes < 2 * self.request_bytes:
            raise ValueError(
                "'unread_bytes' must be at least twice 'request_bytes', or the largest requests "
                "would come in only while no other does"
            )
        return self

    @property
    def most_unread_bytes(self) -> int:
        """What requests may have until they are whole."""
        return self.unread_bytes or max(UNREAD_BYTES, 2 * self.request_bytes)
