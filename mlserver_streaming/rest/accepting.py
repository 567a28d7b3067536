"""What a client takes."""

from starlette.requests import Request

from .framing import EVENTS, LINES, Framing

EVENTS_TYPE = "text/event-stream"
LINES_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


def framing_for(request: Request) -> Framing:
    """Lines, where a client names them, and events not before them; else events."""
    accepted = request.headers.get("accept")
    if accepted is None or "json" not in accepted:
        return EVENTS
    for each in accepted.lower().split(","):
        kind = each.partition(";")[0].strip()
        if kind == EVENTS_TYPE:
            break
        if kind in LINES_TYPES:
            return LINES
    return EVENTS


def accepts_gzip(request: Request) -> bool:
    """Whether the client takes answers in gzip."""
    for coding in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, quality = coding.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
