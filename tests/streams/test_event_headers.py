"""The `Ce-*` headers of a model are those that MLServer makes."""

import pytest
from mlserver import MLModel, ModelSettings
from mlserver.cloudevents import CloudEventsMiddleware
from mlserver.middleware import InferenceMiddlewares
from mlserver.settings import Settings
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.streams.event_headers import EventHeaders
from mlserver_streaming.streams.headers import fields_of, headers_of, lines_of, metadata_of


@pytest.mark.parametrize("request_id", ["7", "", "x" * 1000, "x" * 2000, "a b\n", "Zoë"])
def test_they_are_mlserver_s(request_id: str):
    settings = ModelSettings(name="m", implementation=MLModel)
    theirs = InferenceMiddlewares(CloudEventsMiddleware(Settings(server_name="s")))
    ours = EventHeaders(
        lambda request: theirs.request_middleware(request, settings),
        lambda response: theirs.response_middleware(response, settings),
    )
    request = InferenceRequest(id=request_id or "none", inputs=[])
    theirs.request_middleware(request, settings)
    assert request.parameters is not None
    assert ours.of_request(request.id or "") == request.parameters.headers
    response = InferenceResponse(id=request_id or "none", model_name="m", outputs=[])
    theirs.response_middleware(response, settings)
    assert response.parameters is not None
    found, headers = ours.of_response(request_id or "none"), response.parameters.headers
    assert headers is not None and [*found.items()] == [*headers.items()], "in their order"
    expected = headers_of(response)
    assert sorted(ours.fields_of_response(request_id or "none")) == sorted(fields_of(expected))
    assert sorted(ours.metadata_of_response(request_id or "none")) == sorted(metadata_of(expected))
    fields = ours.fields_of_response(request_id or "none")
    assert ours.lines_of_response(request_id or "none") == lines_of(fields)
    ours.fields_of_response("1").clear()
    ours.metadata_of_response("1").clear()
    assert (b"ce-id", b"1") in ours.fields_of_response("1"), "nobody gets another's"
    assert ("ce-id", "1") in ours.metadata_of_response("1")
