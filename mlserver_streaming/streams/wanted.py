"""The outputs that requests name: answers have those, in that order, and no others.

Some runtimes see to it themselves; most do not look at what a request names.

One answer must have all of them. Of a stream of answers each has what it has of them, perhaps
nothing, and an output that none of them has is an error: at the first one where that is known by
then, else at the end.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, ResponseOutput

from ..errors import MLServerError, NoSuchOutputError
from ..models.parameters import parameter
from ..regions.spans import Span, spans_of, written
from ..tensors.steps import Steps
from .answers import is_decoupled
from .classification import classes_of, classified
from .turns import in_turns

# Requests of one stream whose wishes are kept: their answers come within so many, or as they are.
KEPT_WISHES = 1024
# Responses without any of the outputs that wait for the first that has one, so that an error can
# still be the stream's status. They have lost their tensors by then.
HELD_RESPONSES = 64


async def only_named(
    wish: "Wish", request: InferenceRequest, response: InferenceResponse
) -> InferenceResponse:
    """The one answer to a request that names outputs, with those.

    Raises:
        NoSuchOutputError: it lacks one.
        BadRequestError: classes are wanted of what has none, or it does not fit where it is wanted.
    """
    # A sequence's end, say, is answered without outputs.
    if not response.outputs and parameter(request, "sequence_id") is not None:
        return response
    wish.meet(response)
    if wish.missing:
        raise NoSuchOutputError(wish.model.name, wish.missing, wish.seen)
    reduced = wish.reduced(response)
    return await in_turns(wish.made(reduced)) if wish.is_work else reduced


@dataclass(slots=True)
class Wish:
    """What one request names.

    Attributes:
        names: in the order of the request, each once.
        classes: how many classes of those of which the classes are wanted.
        missing: those that no answer has had yet.
        seen: what the answers had.
        failed: whether the request was refused for it.
        spans: where they are to be written, those that do not leave with the answer.
    """

    model: MLModel
    names: tuple[str, ...]
    classes: dict[str, int]
    missing: list[str]
    seen: dict[str, None] = field(default_factory=dict)
    failed: bool = False
    spans: dict[str, Span] = field(default_factory=dict)

    @classmethod
    def of(cls, request: InferenceRequest, model: MLModel) -> "Wish":
        """
        Raises:
            BadRequestError: no such number of classes can be wanted.
        """
        outputs = request.outputs or []
        names = tuple(dict.fromkeys(output.name for output in outputs))
        classes = {
            output.name: count for output in outputs if (count := classes_of(output)) is not None
        }
        return cls(model, names, classes, list(names), spans=spans_of(request))

    def meet(self, response: InferenceResponse) -> None:
        self.seen.update(dict.fromkeys(output.name for output in response.outputs))
        if self.missing:
            self.missing = [name for name in self.missing if name not in self.seen]

    @property
    def is_work(self) -> bool:
        """Whether more is wanted than some of the outputs."""
        return bool(self.classes or self.spans)

    def reduced(self, response: InferenceResponse) -> InferenceResponse:
        """A copy of a response: its model may give the same one again."""
        there: dict[str, list[ResponseOutput]] = {}
        for output in response.outputs:
            there.setdefault(output.name, []).append(output)
        outputs = [each for name in self.names for each in there.get(name, ())]
        return response.model_copy(update={"outputs": outputs})

    def made(self, reduced: InferenceResponse) -> Steps[InferenceResponse]:
        """A copy of a reduced response: classes in the place of outputs, and what is wanted
        elsewhere written there.

        Raises:
            BadRequestError: classes are wanted of what has none, or it does not fit there.
        """
        outputs = []
        for output in reduced.outputs:
            count = self.classes.get(output.name)
            if count is not None:
                output = yield from classified(output, count, self.model)
            outputs.append(output)
        response = reduced.model_copy(update={"outputs": outputs})
        return (yield from written(response, self.spans)) if self.spans else response


class Wanted:
    """What the requests of one stream name, by their ids.

    Attributes:
        is_work: whether of any more is wanted than some of its outputs: then `made` makes it.
    """

    def __init__(self, model: MLModel, sole: bool):
        """
        Args:
            sole: whether the stream has but one request; its error is the stream's.
        """
        self._model = model
        self._sole = sole
        self._declared = {tensor.name for tensor in model.outputs or []}
        self._answers_once = not is_decoupled(model)
        self.is_work = False
        self._wishes: dict[str, Wish] = {}
        self._held: list[InferenceResponse] = []
        self._holds = sole

    def read(self, request: InferenceRequest) -> None:
        """A request is on its way to the model."""
        id = request.id or ""
        self._wishes.pop(id, None)
        if request.outputs:
            wish = self._wishes[id] = Wish.of(request, self._model)
            self.is_work = self.is_work or wish.is_work
            if len(self._wishes) > KEPT_WISHES:
                del self._wishes[next(iter(self._wishes))]

    def ready(self, response: InferenceResponse) -> Iterable[InferenceResponse]:
        """What is to be sent now that the model gave this response.

        Raises:
            NoSuchOutputError: the stream's only request names what the model does not have.
        """
        wish = self._wish(response.id or "")
        if wish is None:
            return (response,)
        if wish.failed:
            return ()
        if not response.outputs:  # a failure, or a word on the way
            return self._after_held(response)
        is_first = not wish.seen
        wish.meet(response)
        if wish.missing and is_first and self._are_lost(wish.missing):
            return self._refused(response.id or "", wish)
        reduced = wish.reduced(response)
        has_none = len(wish.missing) == len(wish.names)
        if self._holds and has_none and len(self._held) < HELD_RESPONSES:
            self._held.append(reduced)
            return ()
        return self._after_held(reduced)

    def rest(self) -> Iterable[InferenceResponse]:
        """What is to be sent now that the model has given all its responses.

        Raises:
            NoSuchOutputError: none of them has an output that the stream's only request names.
        """
        for id, wish in self._wishes.items():
            if wish.seen and wish.missing and not wish.failed:
                yield from self._refused(id, wish)

    async def made(self, response: InferenceResponse) -> InferenceResponse:
        """A response that is to be sent, classes in the place of outputs, and what is wanted
        elsewhere written there; or the failure of its request.

        Raises:
            MLServerError: that failed, and the request is the stream's only one.
        """
        wish = self._wish(response.id or "")
        if wish is None or not wish.is_work:
            return response
        try:
            return await in_turns(wish.made(response))
        except MLServerError as error:
            return self._failed(response.id or "", wish, error)

    def _wish(self, id: str) -> Wish | None:
        if self._sole:
            return next(iter(self._wishes.values()), None)
        return self._wishes.get(id)

    def _are_lost(self, missing: list[str]) -> bool:
        """Whether no later response to the request will have one of these."""
        if self._answers_once:
            return True
        return bool(self._declared) and not self._declared.issuperset(missing)

    def _refused(self, id: str, wish: Wish) -> list[InferenceResponse]:
        error = NoSuchOutputError(self._model.name, wish.missing, wish.seen)
        return [self._failed(id, wish, error)]

    def _failed(self, id: str, wish: Wish, error: MLServerError) -> InferenceResponse:
        if self._sole:
            raise error
        wish.failed = True
        said: dict[str, Any] = {"error": str(error), "error_code": error.status_code}
        model = self._model
        return InferenceResponse.model_construct(
            model_name=model.name,
            model_version=model.version,
            id=id,
            parameters=Parameters(**said),
            outputs=[],
        )

    def _after_held(self, response: InferenceResponse) -> Iterable[InferenceResponse]:
        self._holds = False
        if not self._held:
            return (response,)
        held, self._held = self._held, []
        return (*held, response)
