"""A worker's end: its models, and the exchanges that the service has begun with it."""

import asyncio
import gc
import pickle
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mlserver import MLModel
from mlserver.context import model_context
from mlserver.errors import ModelNotFound
from mlserver.logging import logger
from mlserver.parallel.messages import ModelUpdateMessage, ModelUpdateType
from mlserver.types import MetadataTensor
from mlserver.utils import generate_uuid

from ..errors import InternalError, MLServerError, NoSuchModelError, shown
from ..load_failure import LoadError, LoadFailure
from ..settings import LimitSettings
from ..streams import answers
from ..streams.in_use import InUse
from ..streams.model_registry import ModelRegistry
from . import messages as say
from .answering import Answering, Exchange, holds_sequences, predict
from .channel import Channel
from .held_sequences import HeldSequences
from .payloads import Packed

# How often sequences are looked at that had no request: one that is idle too long is given up.
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Description:
    """What the service must know of a model that it has not loaded itself."""

    is_decoupled: bool
    is_unary: bool
    holds_sequences: bool
    resumes: bool
    inputs: list[MetadataTensor] | None
    outputs: list[MetadataTensor] | None

    @classmethod
    def of(cls, model: MLModel) -> "Description":
        return cls(
            answers.overrides(model, "predict_stream"),
            answers.overrides(model, "predict"),
            holds_sequences(model),
            answers.can_resume(model),
            model.inputs,
            model.outputs,
        )


class Session:
    """Answers the service until the socket ends."""

    def __init__(self, end: socket.socket, limits: LimitSettings, root: str):
        """
        Args:
            limits: the service's.
            root: the served root.
        """
        self.limits = limits
        self._in_use = InUse()
        self.sequences = HeldSequences()
        self._registry = ModelRegistry()
        self._registry.root = root
        self._exchanges: dict[int, Exchange] = {}
        self._over = asyncio.Event()
        self._channel = Channel(
            end, self._hear, self._over.set, self._unsendable, self._gone_sequences
        )
        self.send = self._channel.send
        self._does: dict[int, Callable[..., None]] = {
            say.OPEN: self._open,
            say.PREDICT: self._predict,
            say.CALL: self._call,
            say.UPDATE: self._update,
            say.REQUEST: lambda number, request: self._tell(number, "request", request),
            say.END: lambda number: self._tell(number, "end"),
            say.TAKEN: lambda number, count: self._tell(number, "taken", count),
            say.CANCEL: lambda number: self._tell(number, "cancel"),
            say.PING: lambda: self.send((say.PONG,)),
        }

    async def run(self) -> None:
        """Until the service is gone, or has had enough."""
        looking = asyncio.create_task(self._look())
        await self._over.wait()
        looking.cancel()
        tasks = [exchange.task for exchange in self._exchanges.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(looking, *tasks, return_exceptions=True)

    async def model(self, name: str, version: str | None) -> MLModel:
        try:
            return await self._registry.get_model(name, version)
        except ModelNotFound as error:
            raise NoSuchModelError(name, version) from error

    @contextmanager
    def answering(self, model: MLModel) -> Iterator[None]:
        with self._in_use.hold(model), model_context(model.settings):
            yield

    def tell_gone(self, key: say.ModelKey, ids: list[Any]) -> None:
        if ids:
            self.send((say.GONE, key, ids))

    def _hear(self, heard: list[Any]) -> None:
        for kind, *rest in heard:
            self._does[kind](*rest)

    def _tell(self, number: int, what: str, *arguments: Any) -> None:
        if (exchange := self._exchanges.get(number)) is not None:
            getattr(exchange, what)(*arguments)

    def _open(
        self, number: int, name: str, version: str | None, first: Packed | None, *how: Any
    ) -> None:
        stream = Answering(self, number, (name, version), first, *how)
        self._begin(stream, number, name, stream.run())

    def _predict(self, number: int, name: str, version: str | None, request: Packed) -> None:
        exchange = Exchange(request[0])
        self._begin(exchange, number, name, predict(self, name, version, request))

    def _call(
        self, number: int, name: str, version: str | None, method: str, arguments: bytes
    ) -> None:
        self._begin(Exchange(), number, name, self._called(name, version, method, arguments))

    def _update(self, number: int, kind: int, settings: str) -> None:
        self._begin(Exchange(), number, "", self._updated(number, kind, settings))

    def _begin(
        self, exchange: Exchange, number: int, name: str, work: Coroutine[Any, Any, Any]
    ) -> None:
        self._exchanges[number] = exchange
        exchange.task = asyncio.create_task(self._finish(exchange, number, name, work))

    async def _finish(
        self, exchange: Exchange, number: int, name: str, work: Coroutine[Any, Any, Any]
    ) -> None:
        """Do the work and say what came of it: an exchange always has an end."""
        end: tuple[Any, ...] = (say.DONE, number, None)
        try:
            end = (say.DONE, number, await work)
        except MLServerError as error:
            end = (say.FAILED, number, str(error), error.status_code)
        except Exception:
            request_id = exchange.last_id or generate_uuid()
            internal = InternalError(request_id)
            logger.exception("Request '%s' to model '%s' failed.", shown(request_id), name)
            end = (say.FAILED, number, str(internal), internal.status_code)
        finally:
            del self._exchanges[number]
            self.send(end)

    async def _called(self, name: str, version: str | None, method: str, arguments: bytes) -> bytes:
        model = await self.model(name, version)
        positional, named = pickle.loads(arguments)
        with self.answering(model):
            return pickle.dumps(await getattr(model, method)(*positional, **named))

    async def _updated(
        self, number: int, kind: int, serialised: str
    ) -> Description | LoadFailure | None:
        """What came of a load: why it failed is an answer too, and the service's to tell."""
        message = ModelUpdateMessage(update_type=kind, serialised_model_settings=serialised)
        settings = message.model_settings
        version = settings.version
        if message.update_type is ModelUpdateType.Unload:
            with suppress(ModelNotFound):
                await self._registry.unload_version(settings.name, version)
            return None
        self.send((say.LOADING, number))
        await asyncio.sleep(0)  # it leaves before anything can hold the loop up
        try:
            model = await self._registry.attempt(settings)
        except LoadError as error:
            return error.failure
        self._in_use.meet(model)
        # As in the service: what is here now stays, and need not be looked through again.
        gc.collect()
        gc.freeze()
        return Description.of(model)

    def _unsendable(self, message: Any, error: Exception) -> Any:
        """A model gave what cannot leave this process: its stream fails, not the worker."""
        kind, number = message[:2]
        exchange = self._exchanges.get(number)
        request_id = (exchange and exchange.last_id) or generate_uuid()
        internal = InternalError(request_id)
        logger.error(
            "The answer to request '%s' cannot be sent.", shown(request_id), exc_info=error
        )
        if exchange is not None and kind in (say.RESPONSE, say.LAST):
            exchange.cancel()
        return (say.FAILED, number, str(internal), internal.status_code)

    def _gone_sequences(self) -> list[Any]:
        return [(say.GONE, key, ids) for key, ids in self.sequences.gone()]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for key, ids in self.sequences.gone(all_of_them=True):
                self.tell_gone(key, ids)
