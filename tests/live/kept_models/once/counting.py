"""Says the numbers from 1 on; what it is called says what is known of it."""

import asyncio
from collections.abc import AsyncIterator

from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.models.parameters import integer, number
from mlserver_streaming.models.sequences import Sequence
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import TEXT, bytes_output


class Counting(StreamingModel):
    """Request parameters: `steps` (10), `delay` in seconds before each (0)."""

    async def respond(
        self, request: InferenceRequest, sequence: Sequence | None
    ) -> AsyncIterator[InferenceResponse]:
        for step in range(1, integer(request, "steps", 10, 0, 1_000_000) + 1):
            await asyncio.sleep(number(request, "delay", 0, 0, 10))
            yield self.response(request, [bytes_output("output", [f"{step} "], TEXT)])
