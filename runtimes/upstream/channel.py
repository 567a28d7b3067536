"""The way to another inference server: address, TLS, keys, and what its failures mean."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

from mlserver_streaming.models.errors import MLServerError

SERVICE = "/inference.GRPCInferenceService"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# A dead upstream is tried again after these waits, each longer than the one before.
FIRST_BACKOFF_MS, LAST_BACKOFF_MS = 200, 5000
VARIABLE = re.compile(r"\$\{(\w+)\}")

Code = grpc.StatusCode
# What an upstream's status is to our caller. That our own key is refused is not the caller's fault.
STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 422,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.DEADLINE_EXCEEDED: 504,
    Code.UNAVAILABLE: 503,
    Code.UNIMPLEMENTED: 501,
}
BAD_GATEWAY = 502
# grpc.aio's own words when a call ends during a write, which then did not arrive.
ENDED_IN_WRITE = "Internal error from Core"


class UpstreamSettingsError(MLServerError):
    """The settings of the upstream cannot be used."""

    def __init__(self, reason: str):
        super().__init__(reason, 500)


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """Where the upstream is and how it is spoken to.

    Attributes:
        target: host:port.
        tls: whether the connection is encrypted; the files are PEM.
        headers: sent with every call, such as `authorization`.
    """

    target: str
    tls: bool = False
    root_certificates: Path | None = None
    certificate_chain: Path | None = None
    private_key: Path | None = None
    server_name: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def read(
        cls,
        uri: str,
        setting: Callable[[str, Any], Any],
        folder: Path,
        environment: Mapping[str, str] = os.environ,
    ) -> "UpstreamAddress":
        """The address in a model's settings.

        Args:
            uri: grpc://host:port, or grpcs:// for TLS.
            setting: a setting by its name and default.
            folder: where relative paths begin.
            environment: what ${NAME} in a header stands for.

        Raises:
            UpstreamSettingsError: something in it is wrong, or missing.
        """
        parts = urlsplit(uri)
        if parts.scheme not in ("grpc", "grpcs") or not parts.netloc or parts.path.strip("/"):
            raise UpstreamSettingsError(
                f"parameters.uri must be grpc://host:port or grpcs://host:port, not {uri!r}."
            )
        files: dict[str, Path] = {}
        for name in ("root_certificates", "certificate_chain", "private_key"):
            if value := setting(name, None):
                files[name] = folder / value
                if not files[name].is_file():
                    raise UpstreamSettingsError(f"{name}: there is no file {files[name]}.")
        if ("certificate_chain" in files) != ("private_key" in files):
            raise UpstreamSettingsError("certificate_chain and private_key go together.")
        if files and parts.scheme == "grpc":
            raise UpstreamSettingsError("Certificates need a parameters.uri of grpcs://.")
        headers = setting("headers", {})
        if not isinstance(headers, dict):
            raise UpstreamSettingsError("headers must be an object of names and texts.")

        def filled(match: "re.Match[str]") -> str:
            if match[1] not in environment:
                raise UpstreamSettingsError(f"headers: the variable {match[1]} is not set.")
            return environment[match[1]]

        return cls(
            parts.netloc,
            parts.scheme == "grpcs",
            server_name=setting("server_name", None),
            headers=tuple(
                (name.lower(), VARIABLE.sub(filled, str(text))) for name, text in headers.items()
            ),
            **files,
        )


class UpstreamChannel:
    """Calls to one upstream, as bytes. It connects at the first call, and again after a failure."""

    def __init__(self, address: UpstreamAddress):
        self.address = address
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", FIRST_BACKOFF_MS),
            ("grpc.min_reconnect_backoff_ms", FIRST_BACKOFF_MS),
            ("grpc.max_reconnect_backoff_ms", LAST_BACKOFF_MS),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.enable_http_proxy", 0),
            # Another service's channel in this process must not share its connection's fate.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if address.server_name:
            options.append(("grpc.ssl_target_name_override", address.server_name))
        if address.tls:
            credentials = grpc.ssl_channel_credentials(
                _read(address.root_certificates),
                _read(address.private_key),
                _read(address.certificate_chain),
            )
            self._channel = grpc.aio.secure_channel(address.target, credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(address.target, options)
        self._infer: Any = self._channel.unary_unary(f"{SERVICE}/ModelInfer")
        self._stream: Any = self._channel.stream_stream(f"{SERVICE}/ModelStreamInfer")
        self._metadata: Any = self._channel.unary_unary(f"{SERVICE}/ModelMetadata")

    async def infer(self, request: bytes, seconds: float) -> bytes:
        """One ModelInferRequest, its ModelInferResponse.

        Raises:
            MLServerError: the upstream failed, or was silent for so many seconds.
        """
        return await self._unary(self._infer, request, seconds)

    async def metadata(self, request: bytes, seconds: float) -> bytes:
        """One ModelMetadataRequest, its ModelMetadataResponse; raises as `infer`."""
        return await self._unary(self._metadata, request, seconds)

    def stream(self) -> Any:
        """A call of ModelStreamInfer: `write`, `read`, `done_writing`, `cancel`."""
        return self._stream(metadata=self.address.headers)

    async def close(self) -> None:
        await self._channel.close()

    async def _unary(self, method: Any, request: bytes, seconds: float) -> bytes:
        try:
            reply: bytes = await method(request, timeout=seconds, metadata=self.address.headers)
        except grpc.aio.AioRpcError as error:
            raise self.failure(error) from error
        return reply

    def failure(self, error: BaseException) -> MLServerError:
        """What a failed call is to our caller."""
        where = f"The upstream at {self.address.target}"
        if not isinstance(error, grpc.aio.AioRpcError):
            return MLServerError(f"{where} ended the stream.", BAD_GATEWAY)
        code, details = error.code(), " ".join((error.details() or "").split())
        status = STATUS.get(code, BAD_GATEWAY)
        if code is Code.DEADLINE_EXCEEDED:
            return MLServerError(f"{where} did not answer in time.", status)
        if code is Code.UNAVAILABLE:
            return MLServerError(f"{where} cannot be reached: {details or 'no reason'}.", status)
        if is_reason_lost(error):
            return MLServerError(f"{where} ended the stream, and gRPC lost its reason.", status)
        if code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED):
            return MLServerError(f"{where} refuses this service's key: {details}", status)
        return MLServerError(f"{where} answered {code.name}: {details}", status)


def is_reason_lost(error: BaseException) -> bool:
    """Whether a call ended during a write; the upstream's reason is lost then."""
    return (
        isinstance(error, grpc.aio.AioRpcError)
        and error.code() is Code.INTERNAL
        and error.details() == ENDED_IN_WRITE
    )


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None else None
