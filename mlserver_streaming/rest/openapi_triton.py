"""Triton's extensions in the OpenAPI document: configuration, statistics, logs and traces, shared
memory. docs/triton.md says what is in their bodies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

MODEL, VERSION = "/v2/models/{model_name}", "/versions/{model_version}"
SYSTEM, CUDA = "/v2/systemsharedmemory", "/v2/cudasharedmemory"
REGION = "/region/{region_name}"
OBJECT: Schema = {"type": "object", "additionalProperties": True}
REGISTERED: Schema = {
    "type": "object",
    "properties": {
        "key": {"type": "string", "description": "A file's name under /dev/shm."},
        "offset": {"type": "integer", "minimum": 0, "default": 0},
        "byte_size": {"type": "integer", "minimum": 1},
    },
    "required": ["key", "byte_size"],
}
# Each with a sentence, and what a POST takes.
ROUTES: list[tuple[str, str, str, Schema | None]] = [
    ("/v2/models/stats", "get", "The statistics of all models", None),
    ("/v2/logging", "get", "What is logged", None),
    ("/v2/logging", "post", "What is to be logged", OBJECT),
    ("/v2/trace/setting", "get", "What is traced", None),
    ("/v2/trace/setting", "post", "What is to be traced", OBJECT),
    (f"{MODEL}/trace/setting", "get", "What is traced of a model", None),
    (f"{MODEL}/trace/setting", "post", "What is to be traced of a model", OBJECT),
    (f"{SYSTEM}{REGION}/register", "post", "Use a file, or a part of it, as a region", REGISTERED),
]
for of in (MODEL, MODEL + VERSION):
    ROUTES += [
        (f"{of}/config", "get", "A model's configuration", None),
        (f"{of}/stats", "get", "A model's statistics", None),
    ]
for of in (SYSTEM, SYSTEM + REGION, CUDA, CUDA + REGION):
    ROUTES += [
        (f"{of}/status", "get", "The caller's regions", None),
        (f"{of}/unregister", "post", "Forget regions; their files stay", None),
    ]


def paths(errors: Schema) -> Schema:
    """The calls by their paths.

    Args:
        errors: what each call may answer beside 200.
    """
    found: Schema = {}
    for path, method, summary, takes in ROUTES:
        item = found.setdefault(path, {"parameters": list(_parameters(path))})
        item[method] = {
            "operationId": f"{method}-{re.sub('[^a-z]+', '-', path[4:]).strip('-')}",
            "summary": summary,
            "tags": ["triton"],
            "responses": {"200": {"description": "OK"}} | errors,
        }
        if takes is not None:
            content = {"application/json": {"schema": takes}}
            item[method]["requestBody"] = {"required": takes is REGISTERED, "content": content}
    return found


def _parameters(path: str) -> Iterator[Schema]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
