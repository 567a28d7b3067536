"""Streams that outlive their connections in the OpenAPI document; docs/resume.md has more."""

from typing import Any

Schema = dict[str, Any]

ONE = "/v2/streams/{stream_id}"
ID: Schema = {
    "name": "stream_id",
    "in": "path",
    "required": True,
    "description": "As the header `x-stream-id` of the stream's first answer says it.",
    "schema": {"type": "string"},
}
PLACE: Schema = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event that the reader has, `<stream>.<n>`.",
    "schema": {"type": "string"},
}
PARTIAL: Schema = {
    "x-streams-partial": {
        "description": "`true` while those that other instances have cannot be known.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
LIST: Schema = {"type": "array", "items": {"type": "object", "additionalProperties": True}}


def paths(errors: Schema) -> Schema:
    """The calls by their paths.

    Args:
        errors: what a call on one stream may answer beside success.
    """
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    listed = {"application/json": {"schema": LIST}}
    return {
        "/v2/streams": {
            "get": {
                "operationId": "streams-list",
                "summary": "The caller's streams that run or are kept",
                "responses": {"200": {"description": "OK", "headers": PARTIAL, "content": listed}},
            }
        },
        ONE: {
            "parameters": [ID],
            "get": {
                "operationId": "streams-read",
                "summary": "A stream from where its reader was, then as it comes",
                "parameters": [PLACE],
                "responses": {
                    "200": {"description": "Events, each with its `id`.", "content": events},
                    "204": {"description": "The reader has all of it."},
                    **errors,
                },
            },
            "delete": {
                "operationId": "streams-cancel",
                "summary": "End a stream, and its model's work",
                "responses": {"204": {"description": "It has ended."}, **errors},
            },
        },
    }
