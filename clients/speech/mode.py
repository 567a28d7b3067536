"""The switches by which recordings are sent, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass

import click

# Sources of a sound that is still being made.
MICROPHONE, STDIN = "microphone", "-"


@dataclass(frozen=True)
class Mode:
    """How recordings are sent."""

    protocol: str = "grpc"
    at_once: bool = False
    streaming: bool = False
    batch_size: int = 1
    realtime: bool = False

    def check(self, source: str | None = None) -> None:
        """Raises click.UsageError for switches that do not go together."""
        live = source == MICROPHONE
        if self.protocol == "http" and self.streaming and self.batch_size > 1:
            raise click.UsageError(
                "over HTTP a stream is one request with one recording: leave --batch-size at 1, "
                "or take --protocol grpc"
            )
        if self.realtime and not (self.streaming and self.protocol == "grpc"):
            raise click.UsageError(
                "--realtime sends chunks as they are spoken, which needs --streaming and "
                "--protocol grpc"
            )
        if live and not (self.streaming and self.protocol == "grpc"):
            raise click.UsageError("a microphone needs --streaming and --protocol grpc")
        if source is not None and (self.batch_size > 1 or self.at_once or self.realtime):
            name = "a microphone" if live else "standard input"
            raise click.UsageError(
                f"{name} is one recording at its own pace: --batch-size, --async and --realtime "
                "do not go with it"
            )

    def __str__(self) -> str:
        words = [self.protocol, "streaming" if self.streaming else "unary"]
        words += ["async"] if self.at_once else []
        words += ["realtime"] if self.realtime else []
        return " ".join(words) + f", batch {self.batch_size}"


def every_mode() -> list[Mode]:
    """Every combination of the four switches that makes sense, with batches of 1 and 4."""
    return [
        Mode(protocol, at_once, streaming, size)
        for protocol in ("grpc", "http")
        for streaming in (False, True)
        for at_once in (False, True)
        for size in (1, 4)
        if not (protocol == "http" and streaming and size > 1)
    ]
