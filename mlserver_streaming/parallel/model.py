"""A model whose work is done in workers: all that the data plane sees of it."""

import pickle
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

from mlserver import MLModel
from mlserver.parallel.model import ParallelModel
from mlserver.types import InferenceRequest, InferenceResponse

from ..streams.answers import One
from . import messages as say
from .payloads import pack_request, unpack_response
from .sequence_table import flags_of
from .session import Description
from .stream import Stream, Workers


class SequenceCount:
    """How many sequences of a model live, on all workers together."""

    def __init__(self, pool: Workers, key: say.ModelKey):
        self._pool = pool
        self._key = key

    def __len__(self) -> int:
        return self._pool.sequences.count(self._key)


class WorkerModel(ParallelModel):
    """Answers with a worker's answers. What a worker calls is the same as what is called here for a
    model in this process (answers.py), so a model's kind makes no difference.

    Attributes:
        is_decoupled, is_unary: whether the model has a `predict_stream`, a `predict` of its own.
        sequences: how many of its sequences live, where the model tells.
    """

    def __init__(self, model: MLModel, pool: Workers, description: Description):
        self._pool: Any = pool
        self._loaded = False
        super().__init__(model, cast(Any, pool))
        self.key: say.ModelKey = (self.name, self.version)
        self.is_decoupled = description.is_decoupled
        self.is_unary = description.is_unary
        self.sequences = SequenceCount(pool, self.key) if description.holds_sequences else None
        # There where the model has it: who asks looks whether it is.
        if description.resumes:
            self.resume_from = self._resume_from
        # What the model has set when it was loaded.
        if description.inputs is not None:
            self.inputs = description.inputs
        if description.outputs is not None:
            self.outputs = description.outputs

    @property
    def ready(self) -> bool:
        """Whether it is loaded and a worker is there to answer."""
        return self._loaded and bool(self._pool.has_worker(self.key))

    @ready.setter
    def ready(self, loaded: bool) -> None:
        self._loaded = loaded

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        link = self._pool.place(self.key, flags_of(payload))
        return unpack_response(await link.ask(say.PREDICT, *self.key, pack_request(payload)))

    def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        return Stream(self._pool, self.key, payloads).responses()

    def _resume_from(
        self, request: InferenceRequest, responses: Sequence[InferenceResponse]
    ) -> AsyncGenerator[InferenceResponse, None]:
        return Stream(self._pool, self.key, One(request), responses).responses()

    async def _send(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        link = self._pool.place(self.key, None)
        arguments = pickle.dumps((args, kwargs))
        return pickle.loads(await link.ask(say.CALL, *self.key, method_name, arguments))
