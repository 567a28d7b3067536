"""REST requests for the live tests."""

import json
from pathlib import Path
from typing import Any

Body = dict[str, Any]


def tensor(
    name: str, data: list[Any], datatype: str = "BYTES", content_type: str | None = None
) -> Body:
    found = {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}
    return found | ({"parameters": {"content_type": content_type}} if content_type else {})


def prompt(text: str = "What is this?", content_type: str | None = None, **parameters: Any) -> Body:
    """A request to text-model, without pauses unless `delay` says so."""
    return {
        "inputs": [tensor("prompt", [text], content_type=content_type)],
        "parameters": {"delay": 0, **parameters},
    }


def image(data: str, **parameters: Any) -> Body:
    """A request to jpeg-model."""
    return {"inputs": [tensor("image", [data])], "parameters": parameters}


def probe(**parameters: Any) -> Body:
    return {"inputs": [tensor("x", ["x"])], "parameters": parameters}


def path(model: str, call: str) -> str:
    return f"/v2/models/{model}/{call}"


def events(text: str) -> list[Body]:
    """The data of an event stream that went well."""
    assert "event:" not in text
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]


def words(found: list[Body]) -> list[str]:
    return [event["outputs"][0]["data"][0] for event in found]


def open_gate(gate: Path, step: int) -> None:
    """Let the probe make this step."""
    gate.with_name(f"{gate.name}{step}").touch()
