"""Says which process answers, and brings it into trouble when it is told to.

Request parameters: `steps` (responses to give), `gate` (step n, but the first, waits until there is
a file of this name with n behind it), `block` (hold up the event loop until there is this file),
`hold` (keep Python's lock for years, in C), `exit` (end the process with this status), `trim` (give
back the memory that nothing uses). It keeps sequences. A file `poison` in the folder that is served
ends every process that loads it; one named `refuse` makes it refuse that.
"""

import asyncio
import ctypes
import gc
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from mlserver.errors import MLServerError
from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from prometheus_client import REGISTRY, Counter

from mlserver_streaming.models.sequences import Sequence
from mlserver_streaming.models.streaming_model import StreamingModel

POISONED = 3


class Process(StreamingModel):
    async def load(self) -> bool:
        if Path("poison").exists():  # noqa: ASYNC240
            os._exit(POISONED)
        if Path("refuse").exists():  # noqa: ASYNC240
            raise MLServerError("the model was told to refuse", 422)
        # The module is imported more than once.
        known = REGISTRY._names_to_collectors.get("process_asked_total")
        self._asked = known or Counter("process_asked", "Requests that a process has had.")
        return True

    @custom_handler(rest_path="/process/who")
    async def who(self, name: str) -> str:
        if name == "nobody":
            raise ValueError("a secret that no client may see")
        return f"{name}: {os.getpid()}"

    async def respond(
        self, request: InferenceRequest, sequence: Sequence | None
    ) -> AsyncIterator[InferenceResponse]:
        wanted = (request.parameters and request.parameters.model_extra) or {}
        self._asked.inc()
        if "trim" in wanted:
            gc.collect()
            with suppress(OSError, AttributeError):  # glibc only
                ctypes.CDLL(None).malloc_trim(0)
        if "exit" in wanted:
            os._exit(wanted["exit"])
        if "hold" in wanted:
            re.fullmatch("(a+)+b", "a" * 100)
        if "block" in wanted:
            Path(f"{wanted['block']}.blocks").touch()  # noqa: ASYNC240
            while not os.path.exists(wanted["block"]):  # noqa: ASYNC240
                time.sleep(0.01)  # noqa: ASYNC251 - the fault that is meant
        for step in range(int(wanted.get("steps", 1))):
            while step and "gate" in wanted and not os.path.exists(f"{wanted['gate']}{step}"):  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.01)
            output = ResponseOutput(name="pid", shape=[1], datatype="INT64", data=[os.getpid()])
            yield self.response(request, [output])
