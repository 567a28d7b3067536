"""A model of ours that answers with how many requests its sequence has had."""

from collections.abc import AsyncIterator

from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from mlserver_streaming.models import Sequence, StreamingModel


class OwnTally(StreamingModel):
    async def respond(
        self, request: InferenceRequest, sequence: Sequence | None
    ) -> AsyncIterator[InferenceResponse]:
        assert sequence is not None
        sequence.state = (sequence.state or 0) + 1
        output = ResponseOutput(name="tally", shape=[1], datatype="INT64", data=[sequence.state])
        yield self.response(request, [output], sequence_id=sequence.id)
