"""SpeechModel: recordings in, words out; whole, or as one speaks.

The libraries that it needs are an extra of this project (`speech`), imported when it is loaded, and
the weights lie in a package. Where they are not installed the service starts all the same, and this
model says what is missing.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlserver.logging import logger
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri

from mlserver_streaming.extras import MissingExtraError, needed_by
from mlserver_streaming.models.errors import BusyError, MLServerError, RequestError, shown
from mlserver_streaming.models.parameters import flag, parameter
from mlserver_streaming.models.sequences import Sequence
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import is_placeholder
from mlserver_streaming.weights import MissingWeightsError

from .side_by_side import side_by_side

if TYPE_CHECKING:
    from mlserver_streaming.audio.listening import Chunk

    from .recording import Recording, Transcript

DEFAULT_MAX_RECORDINGS = 64
DEFAULT_PAUSE, DEFAULT_LONGEST, DEFAULT_MAX_REQUEST = 0.5, 20.0, 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Turn:
    """A request of a stream, and what is to be done for it."""

    request: InferenceRequest
    recording: "Recording | None" = None
    chunk: "Chunk | None" = None
    sequence: Sequence | None = None
    last: bool = False
    # Nothing but the stream's end: the request was answered before.
    ended: bool = False
    error: MLServerError | None = None


class SpeechModel(StreamingModel):
    """Recognises speech.

    Input `audio`: BYTES [N], whole files (see `audio.decoding`), or INT16 or FP32 samples [n] or
    [N, n] with the request parameter `sample_rate` (Hz; any rate). Output `transcript` BYTES
    [N]; `words` BYTES [N] where it is asked for by name, each a JSON list of word, confidence, and
    start and end (seconds) where the engine knows them.

    A unary request holds 1 to 8 whole recordings. In a stream each request holds the next chunk of
    one recording, of any size; several at once are sequences. Responses are partial transcripts
    (`final` false, not more often than every 100 ms, none with the request parameter `partial`
    false) and one final transcript for each utterance; utterances are cut at pauses. Their
    parameters: `final`, `utterance` (its number in the recording), `start`, `end` (seconds),
    `confidence` (0 to 1) of finals, `sequence_id`. The first request of a stream without sequences
    may say how utterances are cut: `silence_duration_ms`, `prefix_padding_ms`, `threshold`.

    Settings: `engine` and its own (see engines.py); `workers` and `live` (one a core),
    finished utterances and utterances under way that are recognised at once;
    `pause_seconds` (0.5), `longest_utterance_seconds` (20), `max_request_seconds` (600) of one
    recording in one request, `max_recordings` (64) at once besides sequences.
    """

    async def load(self) -> bool:
        self._missing: MissingExtraError | MissingWeightsError | None = None
        self._recordings = 0
        self._max_recordings = int(self.setting("max_recordings", DEFAULT_MAX_RECORDINGS))
        try:
            with needed_by(f"Model '{self.name}'", "speech"):
                from .engines import make_engine

                named = self.settings.parameters and self.settings.parameters.uri
                uri = await get_model_uri(self.settings) if named else None
                # First: some engines begin to read their weights, in threads.
                engine = make_engine(f"Model '{self.name}'", self.setting, uri)
                from mlserver_streaming.audio.endpointing import Cutting

                from . import input as speech_input
                from . import output as speech_output
                from .hearing import Hearing
        except (MissingExtraError, MissingWeightsError) as error:
            self._missing = error
            logger.warning("%s", error)
            return True
        self._input, self._output = speech_input, speech_output
        cutting = Cutting(
            pause=float(self.setting("pause_seconds", DEFAULT_PAUSE)),
            longest=float(self.setting("longest_utterance_seconds", DEFAULT_LONGEST)),
        )
        max_seconds = float(self.setting("max_request_seconds", DEFAULT_MAX_REQUEST))
        self._hearing = Hearing(engine, cutting, max_seconds)
        await self._hearing.load()
        return True

    async def unload(self) -> bool:
        await super().unload()
        if self._missing is None:
            await self._hearing.close()
        return True

    def check(self, request: InferenceRequest) -> None:
        if self._missing is not None:
            raise MLServerError(str(self._missing), 501)
        # The metadata has one datatype for a tensor, and this one comes in three.
        declared = []
        for tensor in request.inputs:
            if tensor.name == "audio":
                if str(tensor.datatype) not in self._input.DATATYPES:
                    raise RequestError(
                        "Input 'audio' must be BYTES (files), INT16 or FP32 (samples), not "
                        f"{shown(str(tensor.datatype))}."
                    )
                tensor = tensor.model_copy(update={"datatype": "BYTES"})
            declared.append(tensor)
        super().check(request.model_copy(update={"inputs": declared}))

    def is_placeholder(self, request: InferenceRequest) -> bool:
        tensor = self.input(request, "audio")
        if self._input.is_empty(tensor):
            return True
        return str(tensor.datatype) == "BYTES" and is_placeholder(tensor)

    def sequence_started(self, sequence: Sequence) -> None:
        sequence.state = self._hearing.begin()

    def sequence_expired(self, sequence: Sequence) -> None:
        logger.info("Recording %a given up, idle", sequence.sent_id)
        sequence.state.close()

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Whole recordings; or, in a sequence, a chunk that comes alone."""
        visit = self.enter(payload)
        if visit.sequence is not None:
            return await self._predict_chunk(self._turn(payload, visit.sequence, visit.ends))
        chunks = self._input.recordings(payload, self.input(payload, "audio"))
        self._admit(len(chunks))
        try:
            rows = await self._hearing.whole(chunks)
        finally:
            self._recordings -= len(chunks)
        return self._response(payload, rows, None)

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        heard: dict[Any, Recording] = {}
        responses: Any = side_by_side(self._turns(payloads, heard), self._answers)
        try:
            async with aclosing(responses):
                async for response in responses:
                    yield response
        finally:
            if None in heard:
                heard.pop(None).close()
                self._recordings -= 1
            for recording in heard.values():
                recording.rest()  # its sequence may go on in another call

    async def _turns(
        self, requests: AsyncIterator[InferenceRequest], heard: "dict[Any, Recording]"
    ) -> AsyncIterator[tuple[Any, Turn, bool]]:
        """Each request as a turn of its recording; the key None is the stream's own recording."""
        answerable: InferenceRequest | None = None  # the last that added to the stream's recording
        async for request in requests:
            key, ends = None, False
            try:
                visit = self.enter(request)
                if visit.sequence is None and None not in heard:
                    cutting = self._input.cutting(request, self._hearing.cutting)
                    self._admit(1)
                    heard[None] = self._hearing.begin(cutting)
                if visit.sequence is not None:
                    key, ends = visit.sequence.id, visit.ends
                    heard[key] = visit.sequence.state
                turn = self._turn(request, visit.sequence, ends, heard[key])
            except MLServerError as error:
                turn = Turn(request, error=error)
            if key is None and turn.chunk is not None:
                answerable = request
            yield key, turn, ends
            if ends:
                del heard[key]
        if answerable is not None:
            yield None, Turn(answerable, heard[None], last=True, ended=True), True

    def _turn(
        self,
        request: InferenceRequest,
        sequence: Sequence | None,
        last: bool,
        recording: "Recording | None" = None,
    ) -> Turn:
        """What a request asks for; what is wrong with its chunk is kept for its answer."""
        recording = recording or (sequence.state if sequence else None)
        assert recording is not None
        chunk, error = None, None
        try:
            if sequence is None or not self.is_placeholder(request):
                tensor = self.input(request, "audio")
                chunk = self._input.chunk(request, tensor, recording.rate)
        except MLServerError as wrong:
            error = wrong
        return Turn(request, recording, chunk, sequence, last, error=error)

    async def _answers(self, turn: Turn) -> AsyncIterator[InferenceResponse]:
        """The responses to one request of a stream."""
        answered = turn.ended
        try:
            transcripts: Any = self._transcripts(turn)
            async with aclosing(transcripts):
                async for transcript in transcripts:
                    answered = True
                    yield self._response(turn.request, [[transcript]], turn.sequence)
            if not answered and turn.chunk is None:
                yield self._response(turn.request, [], turn.sequence)
        except MLServerError as error:
            recording = turn.recording
            if recording is not None and recording.failed is error and turn.sequence is None:
                raise  # the stream has no other recording
            yield self.failure(turn.request, error, **_of_sequence(turn.sequence))

    async def _predict_chunk(self, turn: Turn) -> InferenceResponse:
        """The finals of a chunk as one, or its newest partial."""
        found = [transcript async for transcript in self._transcripts(turn)]
        rows = [[transcript for transcript in found if transcript.final] or found[-1:]]
        return self._response(turn.request, rows if found else [], turn.sequence)

    async def _transcripts(self, turn: Turn) -> "AsyncIterator[Transcript]":
        if turn.recording is not None and (turn.error is None or turn.last):
            wanted = parameter(turn.request, "partial") is None or flag(turn.request, "partial")
            transcripts: Any = turn.recording.hear(turn.chunk, turn.last, wanted)
            async with aclosing(transcripts):
                async for transcript in transcripts:
                    yield transcript
        if turn.error is not None:
            raise turn.error

    def _response(
        self, request: InferenceRequest, rows: "list[list[Transcript]]", sequence: Sequence | None
    ) -> InferenceResponse:
        if not rows:  # nothing was sent, nothing is said
            return self.response(request, [], **_of_sequence(sequence))
        return self.response(
            request,
            self._output.outputs(request, rows),
            **self._output.parameters(rows),
            **_of_sequence(sequence),
        )

    def _admit(self, count: int) -> None:
        if self._recordings + count > self._max_recordings:
            raise BusyError(
                f"Model '{self.name}' has {self._recordings} recordings in work and takes "
                f"{self._max_recordings}; try again later."
            )
        self._recordings += count


def _of_sequence(sequence: Sequence | None) -> dict[str, Any]:
    return {} if sequence is None else {"sequence_id": sequence.id}
