"""The routes in the OpenAPI document: what is there, and where OpenAI's reference says the rest."""

from __future__ import annotations

from typing import Any

from .input_items import MOST_ITEMS

Schema = dict[str, Any]
ERROR = "OpenAIError"
STATUSES = {
    "400": "The request cannot be read, or a field is out of its range; `param` names it.",
    "401": "No key or token that is known here.",
    "403": "The key or token is known, but not for this.",
    "404": "No such model, or none that the caller may use.",
    "405": "Not the method of this path.",
    "408": "Nothing came or went for too long.",
    "410": "What comes next is kept no more, or was lost with its replica.",
    "413": "The body is larger than 64 MiB.",
    "415": "The body has an encoding other than gzip or deflate, or several.",
    "422": "What is in the file, or in a text, cannot be read by the model.",
    "429": "Too many at once; `Retry-After` says when to try again.",
    "500": "The service failed; its log says why, under the id in the error.",
    "501": "The model cannot be asked in this way.",
    "503": "The model is not ready yet.",
    "504": "The call lasted longer than it may.",
}
REFUSALS = {"401", "403"}  # where calls need a key
JSON, EVENTS, FORM = "application/json", "text/event-stream", "multipart/form-data"
TEXT = {"type": "string", "minLength": 1}
MODEL = {**TEXT, "example": "text-model"}
SAMPLING: Schema = {
    "stream": {"type": "boolean", "default": False},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
}
MESSAGE = {
    "type": "object",
    "properties": {"role": TEXT, "content": {"type": "string"}},
    "required": ["role", "content"],
    "example": {"role": "user", "content": "What is the capital of France?"},
}
ROUTES: dict[str, tuple[str, str, Schema, list[str]]] = {
    "/chat/completions": (
        "Chat: a conversation, and what comes next in it",
        "chat/create",
        {"messages": {"type": "array", "items": MESSAGE, "minItems": 1}, **SAMPLING},
        ["messages"],
    ),
    "/completions": (
        "Completions: a text, and how it goes on",
        "completions/create",
        {"prompt": TEXT, **SAMPLING},
        ["prompt"],
    ),
    "/responses": (
        "Responses: chat in its newer form",
        "responses/create",
        {
            "input": TEXT,
            "instructions": {"type": "string"},
            "background": {
                "type": "boolean",
                "default": False,
                "description": "Answer whether or not anybody listens, and keep that for a while.",
            },
            **SAMPLING,
        },
        ["input"],
    ),
    "/audio/transcriptions": (
        "Transcriptions: a recording, and what is said in it",
        "audio/createTranscription",
        {
            "file": {"type": "string", "format": "binary"},
            "response_format": {
                "type": "string",
                "enum": ["json", "text", "verbose_json", "srt", "vtt"],
            },
            "stream": {"type": "boolean", "default": False},
        },
        ["file"],
    ),
    "/embeddings": ("Embeddings: always 501", "embeddings/create", {}, []),
}


def with_routes(document: Schema, prefix: str, keyed: bool) -> Schema:
    """A document with the routes in it.

    Args:
        keyed: whether calls need a key or a token.
    """
    errors = _errors(keyed)
    paths: Schema = {
        f"{prefix}/models": {
            "get": {
                "operationId": "openai-models",
                "summary": "The models that the caller may use, as OpenAI lists them",
                "responses": {"200": _ok(JSON)} | errors,
            }
        },
        f"{prefix}/models/{{model_name}}": {
            "get": {
                "operationId": "openai-model",
                "summary": "One of them",
                "parameters": [
                    {"name": "model_name", "in": "path", "required": True, "schema": MODEL}
                ],
                "responses": {"200": _ok(JSON)} | errors,
            }
        },
    }
    for path, (summary, reference, properties, required) in ROUTES.items():
        is_form = "file" in properties
        schema = {
            "type": "object",
            "properties": {"model": MODEL, **properties},
            "required": ["model", *required],
        }
        kinds = [JSON, EVENTS] + ["text/plain", "application/x-subrip", "text/vtt"] * is_form
        paths[prefix + path] = {
            "post": {
                "operationId": f"openai{path.replace('/', '-')}",
                "summary": summary,
                "description": f"As OpenAI has it: {reference} in its API reference.",
                "requestBody": {
                    "required": True,
                    "content": {FORM if is_form else JSON: {"schema": schema}},
                },
                "responses": {"200": _ok(*kinds)} | errors,
            }
        }
    paths |= _stored(prefix, errors)
    components = document.get("components", {})
    schemas = components.get("schemas", {}) | {ERROR: _error_schema()}
    return document | {
        "paths": document["paths"] | paths,
        "components": components | {"schemas": schemas},
    }


def _stored(prefix: str, errors: Schema) -> Schema:
    """The calls on a response that is kept."""
    one = {
        "name": "response_id",
        "in": "path",
        "required": True,
        "description": "Of one in the background, or resumable.",
        "schema": TEXT,
    }
    events: Schema = {
        "parameters": [
            {"name": "stream", "in": "query", "schema": {"type": "boolean", "default": False}},
            {
                "name": "starting_after",
                "in": "query",
                "description": "With `stream`: the sequence_number of the last event one has.",
                "schema": {"type": "integer", "minimum": 0},
            },
        ]
    }
    # One that was cancelled, read to its end.
    ended = {"499": {"description": "It was cancelled, and there is no more of it."}}

    def call(name: str, summary: str) -> Schema:
        return {
            "operationId": f"openai-response-{name}",
            "summary": summary,
            "description": f"As OpenAI has it: responses/{name} in its API reference.",
            "responses": {"200": _ok(JSON, *([EVENTS] * (name == "get")))} | errors | ended,
        }

    pages: Schema = {
        "parameters": [
            {"name": "after", "in": "query", "schema": TEXT},
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS},
            },
            {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}},
        ]
    }
    return {
        f"{prefix}/responses/{{response_id}}/input_items": {
            "parameters": [one],
            "get": call("input-items", "List what a response was asked with") | pages,
        },
        f"{prefix}/responses/{{response_id}}": {
            "parameters": [one],
            "get": call("get", "Get a response as it stands, or its events") | events,
            "delete": call("delete", "Delete a response, and end its model's work"),
        },
        f"{prefix}/responses/{{response_id}}/cancel": {
            "parameters": [one],
            "post": call("cancel", "Cancel a response in the background"),
        },
    }


def _ok(*kinds: str) -> Schema:
    texts = {kind: {"schema": {"type": "string"}} for kind in kinds}
    return {
        "description": "As OpenAI's reference has it.",
        "content": texts | {JSON: {"schema": {"type": "object"}}},
    }


def _errors(keyed: bool) -> Schema:
    schema = {"$ref": f"#/components/schemas/{ERROR}"}
    return {
        status: {"description": said, "content": {JSON: {"schema": schema}}}
        for status, said in STATUSES.items()
        if keyed or status not in REFUSALS
    }


def _error_schema() -> Schema:
    text = {"type": "string", "nullable": True}
    error = {
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "type": {"type": "string"},
            "param": text,
            "code": text,
        },
        "required": ["message", "type", "param", "code"],
    }
    return {
        "title": ERROR,
        "type": "object",
        "properties": {"error": error},
        "required": ["error"],
    }
