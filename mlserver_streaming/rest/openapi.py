"""The OpenAPI document, true of this service: MLServer's own, amended where the two differ.

https://spec.openapis.org/oas/v3.0.3
"""

from copy import deepcopy
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

from mlserver.rest.openapi import get_model_schema, get_openapi_schema

from ..access.authenticator import API_KEY
from . import openapi_request_streams, openapi_streams, openapi_triton
from .auth import OPEN_PATHS
from .binary import HEADER, MEDIA_TYPE

Schema = dict[str, Any]

JSON, EVENTS, LINES = "application/json", "text/event-stream", openapi_request_streams.LINES
ERRORS = {
    "400": "The request cannot be read, or a parameter is out of its range.",
    "401": "No key or token that is known here.",
    "403": "The key or token is known, but not for this.",
    "404": "No such model or version.",
    "405": "Not the method of this path.",
    "410": "What is asked for is kept no more.",
    "413": "The body is larger than 64 MiB.",
    "415": "The body has an encoding other than gzip or deflate, or several.",
    "422": "A tensor is well-formed, but what is in it cannot be read.",
    "429": "Too many at once; `Retry-After` says when to try again.",
    "500": "The service failed; its log says why, under the id in the error.",
    "501": "The model cannot be asked in this way.",
    "503": "The model is not ready yet.",
}
REFUSALS = {"401", "403"}  # where calls need a key
SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": API_KEY},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of this service, or a token of its issuer.",
    },
}
SUMMARIES = {
    "infer": "Inference: one request, one response",
    "generate": "Generation: one request, one response",
    "infer_stream": "Inference: one request, its responses as they are ready",
    "generate_stream": "Generation: one request, its responses as they are ready",
}
UNARY = (
    "The model's response, in the dialect of the request. The responses of a model that streams "
    "are collected into one, its tensors joined along their first axis."
)
STREAM = (
    "One event for each response, `data:` and its JSON. A line `: keep-alive` stands in for long "
    "silence. An error after the first response is an `event: error` with the data "
    '`{"error": ...}`, and ends the stream; one request of many that fails is an event with the '
    "parameters `error` and `error_code`. Who accepts `application/x-ndjson` gets lines of "
    "the same JSON. A body may be many requests, answered while it comes: a line each, or a part."
)


def document(keyed: bool = False) -> Schema:
    """The document of the whole service.

    Args:
        keyed: whether calls need a key or a token.
    """
    return _amended("", None, keyed)


def model_document(name: str, version: str | None = None, keyed: bool = False) -> Schema:
    """The document of one model, its name and version filled in."""
    return _amended(name, version, keyed)


def complete(generated: Schema, keyed: bool = False) -> Schema:
    """FastAPI's own document, which knows the custom handlers of runtimes, with ours in it."""
    ours = document(keyed)
    components = generated.get("components", {})
    schemas = components.get("schemas", {}) | ours["components"]["schemas"]
    return generated | {
        "paths": generated["paths"] | ours["paths"],
        "components": components | ours["components"] | {"schemas": schemas},
        **{part: ours[part] for part in ("security",) if part in ours},
    }


@lru_cache
def _amended(name: str, version: str | None, keyed: bool) -> Schema:
    # Its paths are to be called as they stand.
    path_of = partial(quote, safe="")
    found = get_model_schema(path_of(name), version and path_of(version)) if name else None
    stock: Schema = deepcopy(found or get_openapi_schema())
    # The stock document keeps its enums, and a type "bytes", where OpenAPI knows neither.
    schemas = stock["components"]["schemas"] | stock["components"].pop("enums", {})
    stock["components"]["schemas"] = schemas | _schemas(schemas)
    _repair_references(stock)
    for path, item in stock["paths"].items():
        call = path.rpartition("/")[2]
        for method in ("get", "post"):
            if method in item:
                item[method]["responses"] |= {} if call in SUMMARIES else _errors("404", "500")
        if call in SUMMARIES:
            item["post"] |= _operation(call, versioned="/versions/" in path)
    if not name:
        stock["paths"] |= openapi_triton.paths(_errors("400", "404", "500"))
        stock["paths"] |= openapi_request_streams.paths(
            _errors("400", "404", "413", "429", "500", "503")
        )
        stock["paths"] |= openapi_streams.paths(_errors("400", "404", "410", "429", "500"))
    if keyed:
        _lock(stock)
    return stock


def _lock(stock: Schema) -> None:
    """Say what opens the service, and which calls are open without."""
    stock["components"]["securitySchemes"] = SCHEMES
    stock["security"] = [{scheme: []} for scheme in SCHEMES]
    for path, item in stock["paths"].items():
        for method in item.keys() & {"get", "post", "delete"}:
            if path in OPEN_PATHS:
                item[method]["security"] = []
            else:
                item[method]["responses"] |= _errors(*sorted(REFUSALS))


def _operation(call: str, versioned: bool) -> Schema:
    streams, flat = call.endswith("_stream"), call.startswith("generate")
    asked = [_reference("InferenceRequest")] + [_reference("GenerateRequest")] * flat
    answered = [_reference("InferenceResponse")] + [_reference("GenerateResponse")] * flat
    ok: Schema = {"description": STREAM if streams else UNARY}
    if streams:
        # OpenAPI 3.0 cannot say of what the events are made; the schema is that of the bytes.
        ok["content"] = {kind: {"schema": {"type": "string"}} for kind in (EVENTS, LINES)}
    else:
        ok["content"] = {
            JSON: {"schema": _any_of(answered)},
            MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}},
        }
        ok["headers"] = {
            HEADER: {
                "description": "Length of the JSON at the body's beginning, where outputs were "
                "wanted as bytes (`binary_data`, `binary_data_output`) and follow it.",
                "schema": {"type": "integer"},
            }
        }
    return {
        "operationId": f"model-version-{call}" if versioned else f"model-{call}",
        "summary": SUMMARIES[call],
        "description": STREAM if streams else UNARY,
        "parameters": [
            {
                "name": HEADER,
                "in": "header",
                "description": "Length of the JSON at the body's beginning, where tensors "
                "follow it as bytes (their parameter `binary_data_size`).",
                "schema": {"type": "integer", "minimum": 1},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": _any_of(asked)},
                MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}},
                **(openapi_request_streams.MANY if streams else {}),
            },
        },
        "responses": {"200": ok}
        | _errors(*(status for status in ERRORS if status not in REFUSALS)),
    }


def _errors(*statuses: str) -> Schema:
    return {
        status: {
            "description": ERRORS[status],
            "content": {JSON: {"schema": _reference("InferenceErrorResponse")}},
        }
        for status in statuses
    }


def _schemas(stock: Schema) -> Schema:
    return {
        "TensorData": {
            "title": "TensorData",
            "description": "Elements in row-major order, nested or flat.",
            "type": "array",
            "items": {},
        },
        "InferenceErrorResponse": stock["InferenceErrorResponse"] | {"required": ["error"]},
        "GenerateRequest": {
            "title": "GenerateRequest",
            "type": "object",
            "description": "Keys that are named like an input of the model become its tensors, the "
            "rest are request parameters.",
            "properties": {
                "id": {"type": "string"},
                "text_input": {
                    "oneOf": [
                        {"type": "string"},
                        {"type": "array", "items": {"type": "string"}},
                    ],
                    "description": "The model's text: its input of this name, or its only one of "
                    "datatype BYTES.",
                },
                "parameters": _reference("Parameters"),
            },
            "required": ["text_input"],
            "additionalProperties": True,
            "example": {"text_input": "What is the capital of France?"},
        },
        "GenerateResponse": {
            "title": "GenerateResponse",
            "type": "object",
            "description": "Other outputs, and parameters, stand beside `text_output` under their "
            "names.",
            "properties": {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "text_output": {
                    "description": "One string for one string, a list for a list.",
                    "oneOf": [
                        {"type": "string"},
                        {"type": "array", "items": {"type": "string"}},
                    ],
                },
            },
            "required": ["model_name", "model_version"],
            "additionalProperties": True,
        },
    }


def _reference(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}


def _any_of(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _repair_references(node: Any) -> None:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            node["$ref"] = reference.replace("/components/enums/", "/components/schemas/")
        for child in node.values():
            _repair_references(child)
    elif isinstance(node, list):
        for child in node:
            _repair_references(child)
