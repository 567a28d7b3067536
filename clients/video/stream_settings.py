"""What is sent to a model that finds objects, where and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..command import GRPC_PORT, TIMEOUT_S
from ..credentials import ANONYMOUS, Credentials
from ..grpc_messages import Parameter
from ..server import Server
from ..tls import Tls
from .grpc_detections import Thresholds


@dataclass(frozen=True)
class StreamSettings:
    """What is sent, where and how.

    Attributes:
        stream_id: what the ids of its requests begin with.
        sequence_id: of the sequence that the frames belong to; None is none.
        side: pixels of the square tensor that is sent in place of a JPEG; None sends JPEGs.
        input_name: of the model's input; None is `image` for JPEGs, `images` for tensors.
        outputs: names of those wanted; none is the model's usual.
        parameters: of every request.
        thresholds: for models that answer with their raw output.
        tls: how the connection is secured; None is not at all.
        credentials: sent with every call.
        resend: whether frames that were on the way when a call broke off are sent again.
        retry_s: for how many seconds a server that went away is tried again.
        timeout: seconds for each response.
        shared_memory: whether frames go to a server on this host by way of shared memory.
    """

    host: str = "127.0.0.1"
    port: int = GRPC_PORT
    model: str = "motion"
    version: str = ""
    stream_id: str = "cam-001"
    sequence_id: str | None = None
    side: int | None = None
    input_name: str | None = None
    outputs: Sequence[str] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    tls: Tls | None = None
    credentials: Credentials = ANONYMOUS
    quality: int = 90
    resend: bool = True
    retry_s: float = 60.0
    timeout: float = TIMEOUT_S
    shared_memory: bool = False

    @property
    def server(self) -> Server:
        return Server(self.host, self.port, self.tls, self.credentials)
