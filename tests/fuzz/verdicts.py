"""What may be answered to nonsense: anything but a fault of the service's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import grpc

from tests.fuzz.socket_cases import messages_of
from tests.sockets.serving import CLOSE, TEXT

# 5xx that say what is the matter; the last is what follows from this run's own short limits.
KNOWN = re.compile(
    r"^(Model '.*' (is not ready yet; try again in a moment\.|answers no inference requests\.)"
    r"|Model '.*' cannot be asked .*|The responses of model .*|The call was ended after .*"
    r"|There are no embeddings on this route|Model '.*' answers no text: "
    r"|Model '.*' answered without any |Model '.*' needs "
    r"|Nothing is remembered .*|HTTP/.* is not spoken here; send HTTP/1\.1\."
    r"|(Log|Trace) settings? .*cannot be "
    r"|This stream goes on elsewhere; |The store that knows of streams "
    r"|Shared memory is off here |CUDA shared memory is not supported; "
    r"|Of Transfer-Encodings only 'chunked' is known here\.)",
    re.S,
)
OURS_ALONE = "The service failed on request"
FAULTS = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS}
# A socket's close code: a fault of the service (RFC 6455, 7.4.1).
SERVICE_FAILED = (1011).to_bytes(2)
MAYBE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED}
# What the client itself says where it wrote to a call that was over, and where it left.
CLIENTS_OWN = "Internal error from Core"
UNKNOWN_METHOD = "Method not found!"
# What no line of the log may hold. Callers' own text is quoted there, but none of ours has these.
MISTAKES = ("Traceback", " ERROR ", "ERROR:", "CRITICAL", "never awaited", "was destroyed")


def http_fault(answer: bytes) -> str:
    """What is wrong with an answer over HTTP; empty where nothing is."""
    if not answer:
        return ""
    status = answer[9:12]
    if OURS_ALONE.encode() in answer:
        return answer[-500:].decode("latin-1")
    if status == b"101":
        return _socket_fault(answer.partition(b"\r\n\r\n")[2])
    if not status.isdigit() or int(status) < 500:
        return ""
    body = answer.partition(b"\r\n\r\n")[2]
    if status == b"503" and not body:
        return ""  # readiness, while a model is loaded again
    try:
        said = json.loads(body)["error"]
        if isinstance(said, dict):  # OpenAI's form
            said = said["message"]
    except (ValueError, KeyError, TypeError):
        return answer[:500].decode("latin-1")
    return "" if KNOWN.match(said) else f"{int(status)} {said}"


def _socket_fault(sent: bytes) -> str:
    """The same of what a WebSocket says."""
    for opcode, data in messages_of(sent):
        if opcode == CLOSE and data[:2] == SERVICE_FAILED:
            return f"closed: {data!r}"
        if opcode != TEXT:
            continue
        answer = json.loads(data)
        said = answer | (answer.get("parameters") or {}) if "type" not in answer else {}
        if said.get("error_code", 0) >= 500 and not KNOWN.match(said["error"]):
            return data.decode()
    return ""


def grpc_fault(code: grpc.StatusCode, details: str, replies: list[bytes]) -> str:
    """The same of a gRPC call."""
    for reply in replies:
        if OURS_ALONE.encode() in reply:
            return reply[-500:].decode("latin-1")
    known = details == UNKNOWN_METHOD or KNOWN.match(details)
    if (code in FAULTS and details != CLIENTS_OWN) or (code in MAYBE and not known):
        return f"{code.name} {details}"
    return ""


def log_faults(log: Path) -> list[str]:
    """The lines of a log that tell of a mistake."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if any(mistake in line for mistake in MISTAKES)]
