"""One stream from its first request to its last response: routing, ids, errors.

Both edges drive it. A stream has one task from its first item to its last, and every generator
that was opened is closed by it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sized
from contextlib import aclosing
from time import monotonic, perf_counter_ns
from typing import Any

from mlserver import MLModel
from mlserver.context import model_name_var, model_version_var
from mlserver.errors import ModelNotFound
from mlserver.handlers import DataPlane
from mlserver.logging import logger
from mlserver.registry import MultiModelRegistry
from mlserver.settings import Settings
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
)

from ..access.authenticator import authenticator
from ..access.callers import authorise, current
from ..errors import (
    InternalError,
    MLServerError,
    NoSuchModelError,
    NotLoadedError,
    NotReadyError,
    failure_of,
    shown,
)
from ..models.messages import new_id, put_headers, set_id
from ..regions.regions import Regions
from ..settings import StreamingSettings
from ..watch.adding import Observed, value_of
from ..watch.metrics import StreamMetrics
from ..watch.statistics import Served
from . import answers, calls
from .batches import watch_batches
from .calls import Calls
from .event_headers import EventHeaders
from .headers import Field, fields_of, headers_of, metadata_of
from .in_use import InUse
from .model_registry import ModelRegistry, labels_of
from .ownership import claim, give_back
from .response_bound import ResponseBound
from .room import RequestRoom
from .rotation import Rotation
from .streams import Streams
from .wanted import Wanted, Wish, only_named

# Triton's names for what the protocol's base does not have.
EXTENSIONS = (
    "classification",
    "sequence",
    "sequence(string_id)",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)

# The request parameter that wants a stream to outlive its connection: not a model's matter.
RESUMABLE = "resumable"

CacheMaker = Callable[[StreamingSettings, MultiModelRegistry, InUse], Any]
"""Makes what has `predict` and `stream` as `streams.answers` has them."""

Answer = Callable[[MLModel, Any], AsyncGenerator[InferenceResponse, None]]
"""As `streams.answers.stream`: a model's responses to a stream of requests."""


class StreamingDataPlane(DataPlane):
    """MLServer's data plane with streams that keep the stream contract (ARCHITECTURE.md).

    Errors leave it as MLServerErrors only, their text fit for the caller.
    """

    _model_registry: ModelRegistry

    def __init__(self, settings: Settings, model_registry: ModelRegistry, make_cache: CacheMaker):
        """
        Args:
            make_cache: makes who answers for the models that are cached.
        """
        super().__init__(settings, model_registry)
        self.streaming = StreamingSettings.read(settings.model_repository_root)
        root = settings.model_repository_root or "."
        self.authenticator = authenticator(self.streaming.auth, root)
        metrics = StreamMetrics()
        self.calls = Calls(self.streaming, metrics)
        self.streams = Streams(self.calls, metrics)
        self.metrics = metrics
        limits = self.streaming.limits
        self.rest_bound = ResponseBound(limits.request_bytes)
        self.grpc_bound = ResponseBound.of_grpc(settings, limits)
        self.request_room = RequestRoom(limits)
        self.regions = Regions(self.streaming.shared_memory)
        self.in_use = InUse()
        self.rotation = Rotation()
        # What the service is asked about itself: of a room above, given as the cache is.
        self.management: Any = None
        # Who keeps streams that outlive their connections: likewise.
        self.resume: Any = None
        self.cache = make_cache(self.streaming, model_registry, self.in_use)
        self._watched: dict[tuple[str, str | None], Sized] = {}
        self._served: dict[tuple[str, str | None], Served] = {}
        self._events: dict[str, EventHeaders] = {}

    async def drain(self) -> None:
        """Take no new calls, and wait for those that run. Again, it ends the wait."""
        resume = self.resume
        await self.calls.drain(
            self.streaming.drain_seconds,
            self.streaming.notice_seconds,
            None if resume is None else resume.hand_over,
        )
        if resume is not None:
            await resume.close()

    async def infer(
        self, payload: InferenceRequest, name: str, version: str | None = None
    ) -> InferenceResponse:
        """One request, one response; a stream-only model's responses are collected into one."""
        model = await self.model(name, version)
        response = await self.answer(payload, model)
        self._inference_middleware.response_middleware(response, model.settings)
        return response

    async def answer(self, payload: InferenceRequest, model: MLModel) -> InferenceResponse:
        """As `infer`, but for the response's headers: `headers_to` and `fields_to` tell them.

        Args:
            model: as `model` gave it in this turn of the event loop: in another it may be unloaded.
        """
        requests = Requests(answers.One(payload), self, model)
        with self._serving(model, requests):
            payload = requests.read(payload)
            # What cannot be had is not worth a run of the model.
            wish = Wish.of(payload, model) if payload.outputs else None
            async with self.calls.model(model.name):
                response: InferenceResponse = await self._predicted(model, payload)
            if error := failure_of(response):
                raise error
            if wish is not None:
                response = await only_named(wish, payload, response)
            set_id(response, payload.id)
            if requests.owner:
                give_back(response, requests.owner)
            return response

    async def infer_stream(
        self,
        payloads: AsyncIterator[InferenceRequest],
        name: str,
        version: str | None = None,
        take_turns: bool = True,
        answer: Answer | None = None,
        model: MLModel | None = None,
    ) -> AsyncGenerator[InferenceResponse, None]:
        """The responses to a stream of requests to one model, as they are ready.

        Iterate it in one task and close it there (`contextlib.aclosing`): the model's context
        variables belong to that task.

        Args:
            take_turns: let the event loop go round now and then. Not needed by who sees to that
                itself.
            answer: gives the model's responses; left out, its `predict_stream`, or the cache, does.
            model: as `model` gave it in this turn of the event loop, where somebody knows it.
        """
        model = model or await self.model(name, version)
        requests = Requests(payloads, self, model)
        owner = requests.owner
        with self._serving(model, requests):
            turn_due = 0.0
            async with (
                self.streams.open(model, requests) as stream,
                aclosing((answer or self._answers(model).stream)(model, requests)) as responses,
            ):
                measured = stream.measured
                async for response in responses:
                    # From where pydantic keeps them: what attributes of a message cost adds up.
                    fields = response.__dict__
                    if not fields["id"]:
                        # As `set_id`, without its call.
                        fields["id"] = requests.last_id
                        response.__pydantic_fields_set__.add("id")
                    wanted = requests.wanted
                    if wanted is None and measured.responses and fields["outputs"]:
                        # As nearly all are: neither the first, nor a failure.
                        if owner and fields["parameters"] is not None:
                            give_back(response, owner)
                        measured.responded()
                        yield response
                    else:
                        for ready in (response,) if wanted is None else wanted.ready(response):
                            if wanted is not None and wanted.is_work:
                                ready = await wanted.made(ready)
                            if owner and ready.parameters is not None:
                                give_back(ready, owner)
                            if stream.responded(ready):
                                # The Ce-* headers say the same on every response: once is enough.
                                self._add_headers(ready, model)
                            yield ready
                    # A model that never awaits must not starve the others, nor outlive its client.
                    # A turn costs as much as all else of a small response, hence not at each.
                    if take_turns and monotonic() >= turn_due:
                        await self.rotation.turn()
                        turn_due = monotonic() + self.rotation.seconds
                for ready in requests.wanted.rest() if requests.wanted else ():
                    stream.responded(ready)
                    yield ready

    async def model(self, name: str, version: str | None = None) -> MLModel:
        """The model that serves under this name.

        Raises:
            ForbiddenError, NoSuchModelError, NotLoadedError, NotReadyError
        """
        authorise(name)
        found = self._model_registry.usual(name, version or None)
        try:
            model = found or await self._model_registry.get_model(name, version or None)
        except ModelNotFound as error:
            raise NoSuchModelError(name, version) from error
        if not model.ready:
            raise NotReadyError(name)
        if self.in_use.meet(model):
            self._watch_sequences(model)
            watch_batches(model, self.served(model).batches)
        return model

    def _watch_sequences(self, model: MLModel) -> None:
        """Show how many sequences live, where a runtime tells, until the model is unloaded."""
        sequences = getattr(model, "sequences", None)
        if not isinstance(sequences, Sized):
            return
        of = (model.name, model.version)
        self.metrics.watch_sequences(*of, sequences)
        self._watched[of] = sequences

        def forget() -> None:
            # The model that came into its place may be watched already.
            if self._watched.get(of) is sequences:
                del self._watched[of]
                self.metrics.forget_sequences(*of)

        self.in_use.on_unload(model, forget)

    async def models(self) -> list[MLModel]:
        """Every model that is loaded and that the caller may use."""
        caller = current()
        found = await self._model_registry.get_models()
        return [model for model in found if caller.may_use(model.name)]

    async def model_ready(self, name: str, version: str | None = None) -> bool:
        authorise(name)
        try:
            return await super().model_ready(name, version)
        except NotLoadedError:
            return False

    async def model_metadata(self, name: str, version: str | None = None) -> MetadataModelResponse:
        """What a model says of itself, and the versions of it that can be asked for."""
        authorise(name)
        found = await super().model_metadata(name, version)
        models = [model for model in await self._model_registry.of_name(name) if model.ready]
        found.versions = list(dict.fromkeys(label for each in models for label in labels_of(each)))
        return found

    async def metadata(self) -> MetadataServerResponse:
        found = await super().metadata()
        found.extensions = [*found.extensions, *EXTENSIONS]
        if self.regions.enabled:
            found.extensions.append("system_shared_memory")
        return found

    def prepare(self, request: InferenceRequest, model: MLModel) -> None:
        """Give a request its id and its headers."""
        if request.id is None:
            set_id(request, new_id())
        parameters = request.parameters
        if parameters is not None and (given := parameters.model_extra):
            given.pop(RESUMABLE, None)
        if parameters is None or parameters.headers is None:
            self._inference_middleware.request_middleware(request, model.settings)
        else:
            parameters.headers.update(self._event_headers(model).of_request(request.id or ""))

    def _add_headers(self, response: InferenceResponse, model: MLModel) -> None:
        """Give a response its headers, as MLServer's middleware does."""
        if _has_headers(response) or not response.id:
            self._inference_middleware.response_middleware(response, model.settings)
        else:
            put_headers(response, self._event_headers(model).of_response(response.id))

    def headers_to(self, response: InferenceResponse, model: MLModel) -> dict[str, str]:
        """The headers that leave with an answer of `answer`."""
        self._inference_middleware.response_middleware(response, model.settings)
        return headers_of(response)

    def fields_to(self, response: InferenceResponse, model: MLModel) -> list[Field]:
        """The same as HTTP has them."""
        if not _has_headers(response):
            return self._event_headers(model).fields_of_response(response.id or "")
        return fields_of(self.headers_to(response, model))

    def lines_to(self, response: InferenceResponse, model: MLModel) -> bytes | None:
        """The same as they are written, each with its end of line; None where a model gave its
        response some of its own."""
        if _has_headers(response):
            return None
        return self._event_headers(model).lines_of_response(response.id or "")

    def metadata_to(self, response: InferenceResponse, model: MLModel) -> Iterable[tuple[str, str]]:
        """The same as gRPC has them."""
        if not _has_headers(response):
            return self._event_headers(model).metadata_of_response(response.id or "")
        return metadata_of(self.headers_to(response, model))

    def _event_headers(self, model: MLModel) -> EventHeaders:
        found = self._events.get(model.name)
        if found is None:
            add, settings = self._inference_middleware, model.settings
            found = self._events[model.name] = EventHeaders(
                lambda request: add.request_middleware(request, settings),
                lambda response: add.response_middleware(response, settings),
            )
        return found

    def _predicted(self, model: MLModel, payload: InferenceRequest) -> Any:
        if model.settings.cache_enabled:
            return self.cache.predict(model, payload)
        return answers.predict(model, payload, self.streaming.limits)

    def _answers(self, model: MLModel) -> Any:
        """Who is asked for a model's answers: the model, or the cache before it."""
        return self.cache if model.settings.cache_enabled else answers

    async def ready(self) -> bool:
        return not self.calls.stopping and await super().ready()

    def _serving(self, model: MLModel, requests: "Requests") -> "_Serving":
        """Count, time and name a model's work; what it raises becomes fit for the caller."""
        return _Serving(self, model, requests)

    def served(self, model: MLModel) -> Served:
        """What a model did since the service started, by its name and version."""
        key = (model.name, model.version)
        found = self._served.get(key)
        if found is None:
            labels = {"model": model.name, "version": model.version or ""}
            found = self._served[key] = Served(
                duration=Observed(self._ModelInferRequestDuration.labels(**labels)),
                success=value_of(self._ModelInferRequestSuccess.labels(**labels)),
                failure=value_of(self._ModelInferRequestFailure.labels(**labels)),
            )
        return found


def _has_headers(response: InferenceResponse) -> bool:
    """Whether a model gave its response headers of its own."""
    parameters = response.parameters
    return parameters is not None and parameters.headers is not None


class _Serving:
    """A model at work for one call. A class, as in limits.py."""

    __slots__ = ("_model", "_plane", "_requests", "_served", "_started", "_tokens")

    def __init__(self, plane: StreamingDataPlane, model: MLModel, requests: "Requests"):
        self._plane = plane
        self._model = model
        self._requests = requests

    def __enter__(self) -> None:
        plane, model = self._plane, self._model
        self._served = plane.served(model)
        plane.in_use.begin(model)
        settings = model.settings
        self._tokens = (
            model_name_var.set(settings.name),
            model_version_var.set(settings.version or ""),
        )
        self._started = perf_counter_ns()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        took = perf_counter_ns() - self._started
        plane, model, requests, served = self._plane, self._model, self._requests, self._served
        name, version = self._tokens
        model_name_var.reset(name)
        model_version_var.reset(version)
        plane.in_use.end(model)
        served.duration.observe(took / 1e9)
        served.count(took, requests.count, requests.failed + (error is not None))
        if (call := calls.current()) is not None and call.queue_ns:
            served.queue_ns, call.queue_ns = served.queue_ns + call.queue_ns, 0
        if error is None:
            served.success.inc(1)
        elif isinstance(error, Exception):
            served.failure.inc(1)
            if not isinstance(error, MLServerError):
                request_id = requests.last_id or new_id()
                logger.exception(
                    "Request '%s' to model '%s' failed.", shown(request_id), model.name
                )
                raise InternalError(request_id) from error


class Requests:
    """A stream's requests on their way into the model; knows the id of the one read last, and
    whether there is but one.

    Attributes:
        owner: whose sequences they name: the caller's identity, empty where there are no keys.
        count, failed: requests that were read, and responses that fail one.
        wanted: what they name of the outputs; None as long as none of them names any.
    """

    def __init__(
        self, payloads: AsyncIterator[InferenceRequest], plane: StreamingDataPlane, model: MLModel
    ):
        self.last_id: str | None = None
        self.count = 0
        self.failed = 0
        self.wanted: Wanted | None = None
        self.owner = current().identity
        self.sole = isinstance(payloads, answers.One)
        self._payloads = payloads
        self._plane = plane
        self._model = model

    def __aiter__(self) -> "Requests":
        return self

    async def __anext__(self) -> InferenceRequest:
        return self.read(await anext(self._payloads))

    def read(self, request: InferenceRequest) -> InferenceRequest:
        """Make a request ready for the model."""
        self._plane.prepare(request, self._model)
        if self.owner:
            claim(request, self.owner)
        if request.outputs or self.wanted is not None:
            self.wanted = self.wanted or Wanted(self._model, self.sole)
            self.wanted.read(request)
        self.last_id = request.id
        self.count += 1
        return request

    @property
    def is_over(self) -> bool:
        """Whether it is known that nothing more comes; False where one must wait to know."""
        return getattr(self._payloads, "is_over", False)
