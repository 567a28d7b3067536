"""In the OpenAPI document: bodies of many requests, and the tokens of sockets. Of the sockets it
cannot tell (docs/websocket.md does).
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

JSON, LINES = "application/json", "application/x-ndjson"
# Bodies of many requests.
MANY: Schema = {
    LINES: {"schema": {"type": "string", "description": "A request a line."}},
    "multipart/x-mixed-replace": {
        "schema": {
            "type": "string",
            "format": "binary",
            "description": "A request a part: JSON, or the bytes of the model's input.",
        }
    },
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "description": "The same; fields of plain text are parameters of the parts behind.",
            "additionalProperties": True,
        }
    },
}
ASKED: Schema = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "seconds": {
            "type": "number",
            "minimum": 1,
            "maximum": 300,
            "default": 60,
            "description": "Within which it must be used.",
        },
    },
    "required": ["model"],
}
TOKEN: Schema = {
    "type": "object",
    "properties": {
        "token": {"type": "string"},
        "expires": {"type": "string", "format": "date-time"},
    },
    "required": ["token", "expires"],
}


def paths(errors: Schema) -> Schema:
    """The tokens' call.

    Args:
        errors: what it may answer beside 200.
    """
    answer = {
        "description": "To be offered as the sub-protocol `token.<token>`.",
        "content": {JSON: {"schema": TOKEN}},
    }
    return {
        "/v2/tokens": {
            "post": {
                "operationId": "post-tokens",
                "summary": "A token that opens one WebSocket to a model",
                "requestBody": {"required": True, "content": {JSON: {"schema": ASKED}}},
                "responses": {"200": answer} | errors,
            }
        }
    }
