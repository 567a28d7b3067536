"""One stream in a worker: requests come when the model asks, responses go as they are made."""

import asyncio
from collections.abc import Container, Sequence, Sized
from contextlib import AbstractContextManager, aclosing
from time import monotonic
from typing import Any, Protocol

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from ..errors import failure_of
from ..settings import LimitSettings
from ..streams import answers
from ..streams.finals import with_final
from . import messages as say
from .held_sequences import HeldSequences
from .payloads import Packed, pack_response, unpack_request, unpack_response
from .sequence_table import SequenceId, flags_of
from .window import Window

# How long a model that never waits may go on before others, and what it made, get a turn.
TURN_SECONDS = 0.0005


class Exchange:
    """What the service has begun with the worker.

    Attributes:
        task: does the work.
        last_id: the id of the request that was read last.
    """

    task: "asyncio.Task[None]"

    def __init__(self, last_id: str | None = None):
        self.last_id = last_id

    def cancel(self) -> None:
        """The service wants no more of it."""
        self.task.cancel()


class Exchanges(Protocol):
    """What an exchange asks of the session that it belongs to.

    Attributes:
        limits: how many responses a stream may be ahead of whoever takes them, and what a unary
            call may collect.
        sequences: those that this worker's models hold.
    """

    limits: LimitSettings
    sequences: HeldSequences

    def send(self, message: Any, /) -> None:
        """Tell the service something."""

    async def model(self, name: str, version: str | None) -> MLModel:
        """
        Raises:
            NoSuchModelError: it has been unloaded meanwhile.
        """

    def answering(self, model: MLModel) -> AbstractContextManager[None]:
        """The model works: it is not unloaded meanwhile, and logs under its name."""

    def tell_gone(self, key: say.ModelKey, ids: list[Any]) -> None:
        """Sequences that the worker holds no more."""


class Answering(Exchange):
    """A stream; the model iterates it for its requests."""

    def __init__(
        self,
        session: Exchanges,
        number: int,
        key: say.ModelKey,
        first: Packed | None,
        is_over: bool,
        tells_last: bool,
        said: Sequence[Packed] | None = None,
    ):
        """
        Args:
            first: the first request, None where there is none at all.
            is_over: whether nothing comes after it.
            tells_last: whether the last response must be known for such (finals.py).
            said: the responses that the model is to go on behind; None for a stream that begins.
        """
        super().__init__()
        self._session = session
        self._number = number
        self._key = key
        self._next = first
        self._ended = is_over
        self._tells_last = tells_last
        self._said = said
        self._waiting: asyncio.Future[None] | None = None
        self._window = Window(session.limits.buffered_responses)
        self._room: asyncio.Future[None] | None = None
        self._sequences: Container[Any] | None = None
        # Sequences that began with a request, by its id, until the model is seen to hold them.
        self._began: dict[str | None, SequenceId] = {}

    async def run(self) -> None:
        session, number, window = self._session, self._number, self._window
        model = await session.model(*self._key)
        self._sequences = sequences_of(model)
        found: Any = (
            answers.stream(model, self)
            if self._said is None
            else answers.resumed(model, self, [unpack_response(each) for each in self._said])
        )
        if self._tells_last:
            found = with_final(found)
        kind = say.RESPONSE
        turn_due = 0.0
        try:
            with session.answering(model):
                async with aclosing(found) as responses:
                    async for response in responses:
                        if self._tells_last:
                            response, is_last = response
                            kind = say.LAST if is_last else say.RESPONSE
                        if not response.id:
                            response.id = self.last_id
                        packed, size = pack_response(response)
                        window.sent(size)
                        session.send((kind, number, packed))
                        if self._began and not response.outputs:
                            self._look_at_refusal(response)
                        if window.is_full:
                            self._room = asyncio.get_running_loop().create_future()
                            await self._room
                        elif monotonic() >= turn_due:
                            await asyncio.sleep(0)
                            turn_due = monotonic() + TURN_SECONDS
        finally:
            for id in self._began.values():
                session.tell_gone(self._key, session.sequences.refused(self._key, id))

    def __aiter__(self) -> "Answering":
        return self

    async def __anext__(self) -> InferenceRequest:
        if self._next is None:
            if self._ended:
                raise StopAsyncIteration
            self._session.send((say.WANT, self._number))
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
            if self._next is None:
                raise StopAsyncIteration
        packed, self._next = self._next, None
        request = unpack_request(packed)
        self.last_id = request.id
        self._note_sequence(request)
        return request

    def request(self, packed: Packed) -> None:
        """The next request is here."""
        self._next = packed
        _wake(self._waiting)

    def end(self) -> None:
        """There are no more requests."""
        self._ended = True
        _wake(self._waiting)

    def taken(self, count: int) -> None:
        """So many responses more were taken."""
        self._window.taken(count)
        if not self._window.is_full:
            _wake(self._room)

    def _note_sequence(self, request: InferenceRequest) -> None:
        if self._sequences is None or (flags := flags_of(request)) is None:
            return
        if self._began:  # those that the model holds have been let in
            self._began = {r: id for r, id in self._began.items() if id not in self._sequences}
        self._session.sequences.note(self._key, self._sequences, flags)
        if flags.start and not flags.end:
            self._began[request.id] = flags.id

    def _look_at_refusal(self, response: InferenceResponse) -> None:
        if response.id in self._began and failure_of(response):
            id = self._began.pop(response.id)
            self._session.tell_gone(self._key, self._session.sequences.refused(self._key, id))


async def predict(session: Exchanges, name: str, version: str | None, packed: Packed) -> Packed:
    """The one answer to a unary call."""
    model = await session.model(name, version)
    request = unpack_request(packed)
    sequences, flags = sequences_of(model), flags_of(request)
    if sequences is not None and flags is not None:
        session.sequences.note((name, version), sequences, flags)
    try:
        with session.answering(model):
            return pack_response(await answers.predict(model, request, session.limits))[0]
    finally:
        if flags is not None:
            session.tell_gone((name, version), session.sequences.refused((name, version), flags.id))


def sequences_of(model: MLModel) -> Container[Any] | None:
    """The ids of the sequences that a model holds, where it tells."""
    found = getattr(model, "sequences", None)
    return found if isinstance(found, Container) and isinstance(found, Sized) else None


def holds_sequences(model: MLModel) -> bool:
    """Whether a model tells which sequences it holds."""
    return sequences_of(model) is not None


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
