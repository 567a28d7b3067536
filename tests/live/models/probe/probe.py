"""A stock-style model whose request says how it shall behave; it writes down what it did.

Request parameters: `steps` (responses to give), `seconds` (wait before each), `fail_at` (raise a
ValueError there), `refuse_at` (raise an MLServerError there), `path` (a file that gets a line for
each step and one when the generator is closed), `gate` (step n, but the first, waits until there is
a file of this name with n behind it), `size` (characters of each response, or of the one step that
`large_at` names).
"""

import asyncio
import os
from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse

SECRET = "a secret that no client may see"


class Probe(MLModel):
    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            wanted = request.parameters.model_extra or {}
            path = wanted.get("path")
            try:
                for step in range(int(wanted.get("steps", 1))):
                    await asyncio.sleep(float(wanted.get("seconds", 0)))
                    if step and "gate" in wanted:
                        await opened(f"{wanted['gate']}{step}")
                    if wanted.get("fail_at") == step:
                        raise ValueError(SECRET)
                    if wanted.get("refuse_at") == step:
                        raise MLServerError("the probe was told to refuse", 503)
                    note(path, f"step {step}")
                    large = wanted.get("large_at", step) == step
                    text = str(step).ljust(int(wanted.get("size", 0)) if large else 0, ".")
                    yield InferenceResponse(
                        model_name=self.name,
                        outputs=[StringCodec.encode_output("output", [text])],
                    )
            finally:
                note(path, "closed")


async def opened(gate: str) -> None:
    # Polled: the test that makes the file is another process.
    while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.002)


def note(path: str | None, line: str) -> None:
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
