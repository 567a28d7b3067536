"""Says numbers, and waits in between until it may go on; another replica can go on with it."""

import asyncio
from collections.abc import AsyncIterator, Sized
from pathlib import Path

from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.models.sequences import Sequence
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import TEXT, bytes_output, text_elements

COUNT, AT_ONCE = 60, 20


class Gated(StreamingModel):
    """Its prompt is a path: after 20 numbers it waits for a file of this name and 1, after 40 for
    one with 2."""

    async def respond(
        self, request: InferenceRequest, sequence: Sequence | None, said: int = 0
    ) -> AsyncIterator[InferenceResponse]:
        [gate] = text_elements(self.input(request, "prompt"))
        for number in range(said + 1, COUNT + 1):
            gates = Path(f"{gate}{(number - 1) // AT_ONCE}")
            while number > AT_ONCE and not gates.exists():  # noqa: ASYNC110 ASYNC240
                await asyncio.sleep(0.05)
            yield self.response(request, [bytes_output("output", [f"{number} "], TEXT)])

    def resume_from(
        self, request: InferenceRequest, responses: Sized
    ) -> AsyncIterator[InferenceResponse]:
        return self.respond(request, None, len(responses))
