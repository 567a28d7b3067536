"""Models written for this project, where its own do not do what the peers' do."""

from collections.abc import AsyncIterator

from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers import work
from mlserver_streaming.models import TEXT, StreamingModel, bytes_output, text_elements
from mlserver_streaming.models.sequences import Sequence


class Ticker(StreamingModel):
    """Tokens on time: "RATE COUNT" in, COUNT tokens out, RATE of them a second."""

    async def respond(
        self, request: InferenceRequest, sequence: Sequence | None
    ) -> AsyncIterator[InferenceResponse]:
        (prompt,) = text_elements(self.input(request, "prompt"))
        async for token in work.ticks(prompt):
            yield self.response(request, [bytes_output("output", [token], TEXT)])
