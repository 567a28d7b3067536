"""What a model may call. Pure."""

from typing import Any

from .fields import Fields
from .sampling import as_text


def tools(fields: Fields, flat: bool = False) -> dict[str, Any]:
    """The parameters `tools` and `tool_choice`, as chat has them.

    Args:
        flat: whether a function's name stands beside its type, as in responses.
    """
    found = []
    for _, tool in fields.objects("tools"):
        if tool.one_of("type", ("function",)) is None:
            tool.wrong("type", "function")
        function = tool if flat else tool.object("function")
        if function is None:
            tool.wrong("function", "an object")
        function.needed_text("name")
        function.object("parameters")
        said = {name: value for name, value in function.all.items() if name != "type"}
        found.append({"type": "function", "function": said})
    if not found:
        return {}
    parameters = {"tools": as_text(found)}
    choice = fields.all.get("tool_choice")
    if isinstance(choice, str):
        parameters["tool_choice"] = fields.one_of("tool_choice", ("none", "auto", "required")) or ""
    elif wanted := fields.object("tool_choice"):
        function = wanted if flat else wanted.object("function")
        name = (function or wanted).needed_text("name")
        parameters["tool_choice"] = as_text({"type": "function", "function": {"name": name}})
    return parameters
