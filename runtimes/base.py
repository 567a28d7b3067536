"""StreamingModel: what every runtime of ours needs.

A runtime writes one method, `respond`: one request in, its responses out. The base checks each
request against the model's metadata, keeps a stream alive when one of its requests fails (the
stream contract of docs/runtimes.md), and stamps ids.
"""

from collections.abc import AsyncIterator
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, RequestInput

from .errors import MLServerError, RequestError, shown


class StreamingModel(MLModel):
    """An MLModel that answers each request with a stream of responses.

    Unary calls work too: the data plane collects the responses of one request into one.
    """

    def respond(self, request: InferenceRequest) -> AsyncIterator[InferenceResponse]:
        """The responses to one request, as they are ready.

        Raise an MLServerError to fail this request; the stream goes on with the next one.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define respond()")

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            try:
                self.check(request)
                async for response in self.respond(request):
                    response.id = request.id
                    yield response
            except MLServerError as error:
                yield self.failure(request, error)

    def setting(self, name: str, default: Any) -> Any:
        """A setting of this model: `parameters.extra` in its model-settings.json."""
        parameters = self.settings.parameters
        extra = (parameters.extra if parameters else None) or {}
        return extra.get(name, default)

    def check(self, request: InferenceRequest) -> None:
        """Check names and datatypes of a request against the model's metadata.

        Raises:
            RequestError: an input is missing, unknown, sent twice or of another datatype, or an
                unknown output is asked for.
        """
        declared = {tensor.name: str(tensor.datatype) for tensor in self.inputs or []}
        wanted = ", ".join(f"'{name}' ({datatype})" for name, datatype in declared.items())
        if not request.inputs:
            raise RequestError(f"The request has no inputs; model '{self.name}' takes {wanted}.")
        seen = set()
        for tensor in request.inputs:
            if tensor.name not in declared:
                raise RequestError(
                    f"Model '{self.name}' has no input {shown(tensor.name)}; it takes {wanted}."
                )
            if tensor.name in seen:
                raise RequestError(f"Input '{tensor.name}' is there twice; send it once.")
            if str(tensor.datatype) != declared[tensor.name]:
                raise RequestError(
                    f"Input '{tensor.name}' must be {declared[tensor.name]}, "
                    f"not {shown(str(tensor.datatype))}."
                )
            seen.add(tensor.name)
        known = [tensor.name for tensor in self.outputs or []]
        for output in request.outputs or []:
            if output.name not in known:
                raise RequestError(
                    f"Model '{self.name}' has no output {shown(output.name)}; "
                    f"it gives {', '.join(map(repr, known))}."
                )

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
        """A response to `request`. Built without validation: the runtime knows what it makes."""
        return InferenceResponse.model_construct(
            model_name=self.name,
            model_version=self.version,
            id=request.id,
            parameters=Parameters(**parameters) if parameters else None,
            outputs=outputs,
        )

    def failure(
        self, request: InferenceRequest, error: MLServerError, **parameters: Any
    ) -> InferenceResponse:
        """The response that fails `request` alone: no outputs, `error` and `error_code`."""
        return self.response(
            request, [], error=str(error), error_code=error.status_code, **parameters
        )
