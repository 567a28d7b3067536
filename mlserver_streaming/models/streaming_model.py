"""StreamingModel: what every runtime of ours needs.

A runtime writes one method, `respond`: one request in, its responses out. The base checks each
request against the model's metadata, keeps a stream alive when one of its requests fails, stamps
ids, and keeps the table of the model's sequences.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from mlserver import MLModel
from mlserver.settings import ModelSettings
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    Parameters,
    RequestInput,
)

from . import messages
from .errors import MLServerError, RequestError, shown
from .sequences import Sequence, Sequences, sequence_flags

DEFAULT_MAX_SEQUENCES = 1024
DEFAULT_SEQUENCE_IDLE_SECONDS = 60.0  # Triton's max_sequence_idle_microseconds, as usually set


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in: its sequence, whether it is the sequence's last, and whether
    there is data in it to work on."""

    sequence: Sequence | None = None
    ends: bool = False
    has_data: bool = True


class StreamingModel(MLModel):
    """An MLModel that answers each request with a stream of responses.

    Unary calls work too: the data plane collects the responses of one request into one.

    One that can go on with an answer that broke off has another method,
    `resume_from(request, responses)`: as `respond`, of the responses behind those that were said.

    Settings of every such model (`parameters.extra`): `max_sequences` (1024) live at once,
    `sequence_idle_seconds` (60) of silence after which one is given up. The service's own
    defaults for them come as `parameters`.
    """

    def __init__(self, settings: ModelSettings):
        super().__init__(settings)
        # MLModel looks these up in its settings each time.
        self._name, self._version = self.name, self.version
        self.sequences = Sequences(
            self.name,
            int(self.setting("max_sequences", DEFAULT_MAX_SEQUENCES)),
            float(self.setting("sequence_idle_seconds", DEFAULT_SEQUENCE_IDLE_SECONDS)),
        )
        self._expiry: asyncio.TimerHandle | None = None

    def respond(
        self, request: InferenceRequest, sequence: Sequence | None
    ) -> AsyncIterator[InferenceResponse]:
        """The responses to one request, as they are ready.

        Raise an MLServerError to fail this request; the stream goes on with the next one.

        Args:
            sequence: the live sequence that the request belongs to; keep in its `state` what the
                model must remember.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define respond()")

    def sequence_started(self, sequence: Sequence) -> None:
        """A sequence's first request is here; its `state` may be set."""

    def sequence_ended(self, sequence: Sequence) -> None:
        """A sequence's last request has been answered."""

    def sequence_expired(self, sequence: Sequence) -> None:
        """A sequence was silent for too long and is given up."""

    def is_placeholder(self, request: InferenceRequest) -> bool:
        """Whether a START or END request carries no data, only something to satisfy the client."""
        return False

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            try:
                visit = self.enter(request)
            except MLServerError as error:
                yield self.failure(request, error)
                continue
            try:
                if not visit.has_data:
                    yield self.response(request, [])
                    continue
                request_id = request.id
                async with aclosing(self._responses(request, visit)) as responses:
                    async for response in responses:
                        # From where pydantic keeps it, for an attribute of a message costs more.
                        if response.__dict__["id"] != request_id:
                            response.id = request_id
                        yield response
            except MLServerError as error:
                yield self.failure(request, error)
            finally:
                self.leave(visit)

    def _responses(
        self, request: InferenceRequest, visit: Visit
    ) -> AsyncGenerator[InferenceResponse, None]:
        # Every respond() that is written with `yield` is a generator.
        return cast(AsyncGenerator[InferenceResponse, None], self.respond(request, visit.sequence))

    async def unload(self) -> bool:
        if self._expiry is not None:
            self._expiry.cancel()
        return True

    def enter(self, request: InferenceRequest) -> Visit:
        """Check a request and take its sequence one step on; `leave` when it is answered.

        Raises:
            MLServerError: the request is refused; nothing has changed.
        """
        self.check(request)
        flags = sequence_flags(request)
        if flags is None:
            return Visit()
        # Before the sequence takes its step: a shape that disagrees with its data is refused here.
        placeholder = (flags.start or flags.end) and self.is_placeholder(request)
        now = asyncio.get_running_loop().time()
        self._expire(now)
        sequence, move = self.sequences.admit(flags, now)
        if move.starts:
            self.sequence_started(sequence)
        self._schedule_expiry()
        return Visit(sequence, ends=move.ends, has_data=not placeholder)

    def leave(self, visit: Visit) -> None:
        """A request that entered is answered, or given up."""
        if visit.ends and visit.sequence is not None:
            self.sequence_ended(visit.sequence)

    def _expire(self, now: float) -> None:
        for sequence in self.sequences.expire(now):
            self.sequence_expired(sequence)

    def _on_expiry(self) -> None:
        self._expiry = None
        self._expire(asyncio.get_running_loop().time())
        self._schedule_expiry()

    def _schedule_expiry(self) -> None:
        due = self.sequences.next_expiry()
        if due is not None and self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_at(due, self._on_expiry)

    def setting(self, name: str, default: Any) -> Any:
        """A setting of this model: `parameters.extra` in its model-settings.json, else the
        service's, else `default`."""
        parameters = self.settings.parameters
        if parameters is None:
            return default
        given = {**(parameters.model_extra or {}), **(parameters.extra or {})}
        return given.get(name, default)

    def check(self, request: InferenceRequest) -> None:
        """Check names and datatypes of a request against the model's metadata, where it has any.

        Raises:
            RequestError: an input is missing, unknown, sent twice or of another datatype, or an
                unknown output is asked for.
        """
        declared = {tensor.name: self.datatypes(tensor) for tensor in self.inputs or []}
        if not request.inputs:
            raise RequestError(
                f"The request has no inputs; model '{self.name}' takes {_listed(declared)}."
            )
        seen = set()
        for tensor in request.inputs:
            if declared and tensor.name not in declared:
                raise RequestError(
                    f"Model '{self.name}' has no input {shown(tensor.name)}; it takes "
                    f"{_listed(declared)}."
                )
            if tensor.name in seen:
                raise RequestError(f"Input '{tensor.name}' is there twice; send it once.")
            if declared and str(tensor.datatype) not in declared[tensor.name]:
                raise RequestError(
                    f"Input '{tensor.name}' must be {' or '.join(declared[tensor.name])}, "
                    f"not {shown(str(tensor.datatype))}."
                )
            seen.add(tensor.name)
        known = [tensor.name for tensor in self.outputs or []]
        for output in request.outputs or []:
            if known and output.name not in known:
                raise RequestError(
                    f"Model '{self.name}' has no output {shown(output.name)}; "
                    f"it gives {', '.join(map(repr, known))}."
                )

    def datatypes(self, tensor: MetadataTensor) -> tuple[str, ...]:
        """The datatypes that an input may have: the one that its metadata says."""
        return (str(tensor.datatype),)

    def input(self, request: InferenceRequest, name: str) -> RequestInput:
        """The request's input `name`.

        Raises:
            RequestError: it is missing.
        """
        for tensor in request.inputs:
            if tensor.name == name:
                return tensor
        raise RequestError(f"Input '{name}' is missing.")

    def response(
        self, request: InferenceRequest, outputs: list[Any], **parameters: Any
    ) -> InferenceResponse:
        """A response to `request`."""
        described = Parameters(**parameters) if parameters else None
        return messages.response(self._name, self._version, request.id, outputs, described)

    def text_response(
        self, request: InferenceRequest, name: str, text: str, /, **parameters: Any
    ) -> InferenceResponse:
        """A response to `request` whose one output, `name`, is one text, as a token is."""
        described = Parameters(**parameters) if parameters else None
        return messages.text_response(self._name, self._version, request.id, name, text, described)

    def failure(
        self, request: InferenceRequest, error: MLServerError, **parameters: Any
    ) -> InferenceResponse:
        """The response that fails `request` alone: no outputs, `error` and `error_code`; where the
        error knows them, `error_param` and `error_reason`."""
        for name in ("param", "reason"):
            if (known := getattr(error, name, None)) is not None:
                parameters[f"error_{name}"] = known
        return self.response(
            request, [], error=str(error), error_code=error.status_code, **parameters
        )


def _listed(declared: dict[str, tuple[str, ...]]) -> str:
    """A model's inputs, as errors name them."""
    listed = ", ".join(f"'{name}' ({datatypes[0]})" for name, datatypes in declared.items())
    return listed or "inputs of any name"
