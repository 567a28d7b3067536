"""Plain calls, one after another, by load generators that others know and trust: wrk and h2load.

Debian's packages are wrk and nghttp2-client. Neither reads what it is answered: an answer is
compared before each window, and from then on statuses, errors and bytes are counted.
"""

import http.client
import json
import re
import resource
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from ..contenders.process import Target, Usage, usage
from .load_window import AnswerError
from .samples import Sample

WRK, H2LOAD = "wrk", "h2load"
# Both take whole seconds only.
LEAST_SECONDS = 1
CALL_SECONDS = 10.0
SERVICE = "/inference.GRPCInferenceService/"
# wrk's own words are rounded; its script is told the figures themselves.
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = io.open(%s, "rb"):read("*a")
function done(summary)
  local e = summary.errors
  io.stderr:write(string.format("%%d %%d %%d %%d", summary.requests, summary.duration,
    summary.bytes, e.connect + e.read + e.write + e.status + e.timeout))
end
"""
H2LOAD_DONE = re.compile(r"finished in ([\d.]+)(ms|s).*? (\d+) succeeded, (\d+) failed", re.S)
H2LOAD_BYTES = re.compile(r"\((\d+)\) total,.*\((\d+)\) data")
Check = Callable[[bytes], bool]


def missing(program: str) -> str:
    """Why nothing can be measured with a program; empty where it is there."""
    if shutil.which(program):
        return ""
    return f"{program} is not installed (`apt-get install wrk nghttp2-client`)"


async def wrk(
    target: Target,
    seconds: float,
    path: str,
    body: bytes,
    is_right: Check,
    connections: int,
    responses: int = 1,
) -> Sample:
    """POST a JSON body over so many connections.

    Args:
        is_right: whether a body is the right answer.
        responses: how many an answer holds.
    """
    answer = _posted(target.http, path, body)
    _check(is_right, answer)
    with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
        asked, script = Path(folder) / "body", Path(folder) / "script.lua"
        asked.write_bytes(body)
        script.write_text(SCRIPT % json.dumps(str(asked)))
        command = [WRK, "-t1", f"-c{connections}", f"-d{whole(seconds)}s", "-s", str(script)]
        url = f"http://127.0.0.1:{target.http}{path}"
        done, used = _run(target, [*command, url])
    calls, took, size, failed = wrk_figures(done.stderr)
    if failed or not calls or size < calls * len(answer):
        raise AnswerError(f"wrk: {calls} answers, {size} bytes, {failed} errors")
    return Sample(calls * responses, took, size, *used)


async def h2load(
    target: Target, seconds: float, method: str, request: bytes, is_right: Check, at_once: int
) -> Sample:
    """Unary gRPC calls, so many at once on one connection."""
    answer = _called(target.grpc, method, request)
    _check(is_right, answer)
    with tempfile.NamedTemporaryFile(prefix="h2load-") as asked:
        asked.write(framed(request))
        asked.flush()
        command = [H2LOAD, "-t1", "-c1", f"-m{at_once}", f"-D{whole(seconds)}", "-d", asked.name]
        headers = ["-H", "te: trailers", "-H", "content-type: application/grpc"]
        url = f"http://127.0.0.1:{target.grpc}{SERVICE}{method}"
        done, used = _run(target, [*command, *headers, url])
    calls, took, size, data, failed = h2load_figures(done.stdout)
    # A call that failed has a 200 too, and no message.
    others = abs(data / len(framed(answer)) - calls)
    if failed or not calls or others > at_once:
        raise AnswerError(f"h2load: {calls} answers, {data} bytes of messages, {failed} errors")
    return Sample(calls, took, size, *used)


def whole(seconds: float) -> int:
    """The length of a window as the programs take it."""
    return max(LEAST_SECONDS, round(seconds))


def framed(message: bytes) -> bytes:
    """A gRPC message with its length before it."""
    return b"\0" + struct.pack(">I", len(message)) + message


def wrk_figures(said: str) -> tuple[int, float, int, int]:
    """Answers, seconds, bytes and errors, as wrk's script has them. Raises AnswerError."""
    numbers = said.split()
    if len(numbers) != 4 or not all(each.isdigit() for each in numbers):
        raise AnswerError(f"wrk: {said[:300]}")
    calls, microseconds, size, failed = map(int, numbers)
    return calls, microseconds / 1e6, size, failed


def h2load_figures(said: str) -> tuple[int, float, int, int, int]:
    """Answers, seconds, bytes, bytes of messages, and errors. Raises AnswerError."""
    done, size = H2LOAD_DONE.search(said), H2LOAD_BYTES.search(said)
    if done is None or size is None:
        raise AnswerError(f"h2load: {said[-300:]}")
    seconds = float(done[1]) * (1e-3 if done[2] == "ms" else 1)
    return int(done[3]), seconds, int(size[1]), int(size[2]), int(done[4])


def _run(
    target: Target, command: list[str]
) -> tuple[subprocess.CompletedProcess[str], tuple[float, Usage]]:
    """What a program says, and what it and the server have used meanwhile."""
    client, server = _children(), usage(target.pid)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    used = _children() - client, usage(target.pid).since(server)
    if done.returncode:
        raise AnswerError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done, used


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _posted(port: int, path: str, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise AnswerError(f"{answer.status}: {found[:300]!r}")
    return found


def _called(port: int, method: str, request: bytes) -> bytes:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary(SERVICE + method)
        return bytes(ask(request, timeout=CALL_SECONDS))


def _check(is_right: Check, answer: bytes) -> None:
    if not is_right(answer):
        raise AnswerError(f"a wrong answer: {answer[:300]!r}")
