"""One request of a body that holds many, to what the core takes."""

from __future__ import annotations

from typing import NamedTuple

import orjson
from mlserver import MLModel
from mlserver.types import InferenceRequest, MetadataTensor, Parameters
from mlserver.utils import generate_uuid
from pydantic import ValidationError

from ...errors import BadRequestError
from ...models.messages import request, request_input, set_id
from ...regions.regions import Own
from ...settings import LimitSettings
from ...tensors.json_pieces import SMALL_BODY_BYTES
from ...tensors.json_requests import parse
from ...tensors.raw import BYTES
from ...tensors.steps import Steps
from ..events import JSON, Answers
from ..generate import TEXT_INPUT
from ..read_request import understand
from .asked import Asked


class Read(NamedTuple):
    """A request, as `streams.substreams` takes it.

    Attributes:
        form: how it is to be answered.
    """

    model_name: str
    model_version: str
    payload: InferenceRequest
    form: Answers


class Reader:
    """Reads the requests of a call to one model."""

    def __init__(
        self, model: MLModel, version: str | None, limits: LimitSettings, may_be_flat: bool
    ):
        """
        Args:
            version: as the call names it.
            may_be_flat: whether JSON in the form of `generate` is a request too.
        """
        self._name, self._version = model.name, version or ""
        self._limits = limits
        self._inputs: list[MetadataTensor] = model.inputs or []
        self._declared = self._inputs if may_be_flat else None

    def read(self, asked: Asked, own: Own) -> Steps[Read]:
        """
        Args:
            own: the caller's regions of shared memory.

        Raises:
            MLServerError: it is no request to this model.
        """
        answers: Answers = JSON
        if asked.is_json:
            parsed, rows = yield from parse(asked.body, self._limits)
            payload, _, flat = yield from understand(
                parsed, rows, None, self._limits, self._declared, own
            )
            if flat is not None:
                answers = flat.with_ids()
            _add(payload, asked)
        else:
            payload = self._of_bytes(asked)
        if not payload.id:
            # Now, and not by the core: whose answer is whose is told by it.
            set_id(payload, generate_uuid())
        return Read(self._name, self._version, payload, answers)

    def _of_bytes(self, asked: Asked) -> InferenceRequest:
        names = [each.name for each in self._inputs if str(each.datatype) == BYTES]
        if self._inputs and not names:
            raise BadRequestError(
                f"Model '{self._name}' has no input of bytes; send its requests as parts of "
                "'application/json'."
            )
        shape = next((each.shape for each in self._inputs if each.name in names), [1])
        tensor = request_input(
            names[0] if names else TEXT_INPUT, BYTES, [1] * max(1, len(shape)), [asked.body], None
        )
        payload = request(None, [tensor], None)
        _add(payload, asked)
        return payload


def _add(payload: InferenceRequest, asked: Asked) -> None:
    """Give a request the fields that came before it, where it does not say the same itself."""
    if not asked.fields:
        return
    found = dict(asked.fields)
    if (request_id := found.pop("id", None)) is not None and payload.id is None:
        payload.id = str(request_id)
    own = payload.parameters.model_dump(exclude_unset=True) if payload.parameters else {}
    try:
        payload.parameters = Parameters(**{**found, **own})
    except ValidationError as error:
        field = error.errors(include_url=False, include_input=False)[0]["loc"][0]
        raise BadRequestError(f"The form's field '{field}' is no parameter of a request.") from None


def id_of(asked: Asked) -> str:
    """The id of a request that cannot be read; empty where it cannot be had in no time."""
    found = asked.fields.get("id")
    if asked.is_json and len(asked.body) < SMALL_BODY_BYTES:
        try:
            parsed = orjson.loads(asked.body)
        except orjson.JSONDecodeError:
            parsed = None
        if isinstance(parsed, dict):
            found = parsed.get("id", found)
    return found if isinstance(found, str) else ""
