"""Plain calls, one after another, by load generators that others know and trust: wrk and h2load.

Debian's packages are wrk and nghttp2-client. Neither reads what it is answered: an answer is
compared before each window, and from then on statuses, errors and bytes are counted.
"""

import json
import re
import resource
import shutil
import ssl
import struct
import subprocess
import tempfile
from pathlib import Path

from clients.server_process import HOST

from ..contenders.process import Target, cpu_seconds
from .calls import GrpcCall, HttpCall, opened, right_answer
from .grpc_wire import CALL_SECONDS, SERVICE
from .http_wire import HttpWire
from .load_process import AnswerError
from .samples import Sample, sample

WRK, H2LOAD = "wrk", "h2load"
HOW = "`make load-programs` installs it"
# Both take whole seconds only.
LEAST_SECONDS = 1
# wrk's own words are rounded; its script is told the figures themselves.
SCRIPT = """
wrk.method = "POST"
for name, value in pairs(%s) do wrk.headers[name] = value end
wrk.body = io.open(%s, "rb"):read("*a")
function done(summary)
  local e = summary.errors
  io.stderr:write(string.format("%%d %%d %%d %%d", summary.requests, summary.duration,
    summary.bytes, e.connect + e.read + e.write + e.status + e.timeout))
end
"""
H2LOAD_DONE = re.compile(r"finished in ([\d.]+)(ms|s).*? (\d+) succeeded, (\d+) failed", re.S)
H2LOAD_BYTES = re.compile(r"\((\d+)\) total,.*\((\d+)\) data")
# With fewer answers for each connection, what was under way at the end is no longer a trifle.
MANY_ANSWERS = 50


def missing(load: str) -> str:
    """Why nothing can be measured with a load; empty where it is ours, or its program is there."""
    if load not in (WRK, H2LOAD) or shutil.which(load):
        return ""
    return f"{load} is not installed ({HOW})"


async def wrk(target: Target, seconds: float, call: HttpCall, connections: int) -> Sample:
    """POST one body over so many connections."""
    size = await _asked(target, call)
    scheme = "https" if call.certificate else "http"
    with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
        body, script = Path(folder) / "body", Path(folder) / "script.lua"
        body.write_bytes(call.body)
        headers = {"Content-Type": call.content_type, **call.headers}
        lua = ",".join(f"[{json.dumps(name)}]={json.dumps(each)}" for name, each in headers.items())
        script.write_text(SCRIPT % ("{" + lua + "}", json.dumps(str(body))))
        command = [WRK, "-t1", f"-c{connections}", f"-d{whole(seconds)}s", "-s", str(script)]
        url = f"{scheme}://127.0.0.1:{target.http}{call.path}"
        done, used = _run(target, [*command, "--timeout", f"{CALL_SECONDS:g}s", url])
    calls, took, received, failed = wrk_figures(done.stderr)
    answers = float(calls)
    if calls < MANY_ANSWERS * connections:
        answers = received / size
    if failed or not received or abs(answers - calls) > 2 * connections:
        raise AnswerError(f"wrk: {calls} answers, {received} bytes, {failed} errors")
    return sample(answers * call.responses, took, received, *used)


async def h2load(target: Target, seconds: float, call: GrpcCall, at_once: int) -> Sample:
    """gRPC calls, so many at once on one connection."""
    port = target.triton if call.triton else target.grpc
    (wire,) = await opened(target, call.way, 1)
    answer = await right_answer(wire, call)
    await wire.close()
    with tempfile.NamedTemporaryFile(prefix="h2load-") as asked:
        asked.write(framed(call.request))
        asked.flush()
        command = [H2LOAD, "-t1", "-c1", f"-m{at_once}", f"-D{whole(seconds)}", "-d", asked.name]
        headers = ["-H", "te: trailers", "-H", "content-type: application/grpc"]
        url = f"http://127.0.0.1:{port}{SERVICE}{call.method}"
        done, used = _run(target, [*command, *headers, url])
    calls, took, size, data, failed = h2load_figures(done.stdout)
    answers = data / sum(len(framed(each)) for each in answer)
    # A call that failed has a 200 too, and no message.
    if failed or not data or abs(answers - calls) > 2 * at_once:
        raise AnswerError(f"h2load: {calls} answers, {data} bytes of messages, {failed} errors")
    return sample(answers * len(answer), took, size, *used)


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
) -> tuple[subprocess.CompletedProcess[str], tuple[float, float]]:
    """What a program says, and the CPU time that it and the server have used meanwhile."""
    client, server = _children(), cpu_seconds(target.pid)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    used = _children() - client, cpu_seconds(target.pid) - server
    if done.returncode:
        raise AnswerError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done, used


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _asked(target: Target, call: HttpCall) -> int:
    """The bytes that an answer takes on the wire; it must be right."""
    tls = ssl.create_default_context(cafile=call.certificate) if call.certificate else None
    wire = HttpWire(HOST, target.http, tls)
    try:
        await right_answer(wire, call)
    finally:
        await wire.close()
    return wire.size
